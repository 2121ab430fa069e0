"""What was said then against what is said now, study by study. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.identifiers import AccessionNumber
from streams.replay.changes import KINDS, Change, Kind, Tolerance, other_pixels, states_differ
from streams.replay.said import Key, Side, State
from streams.shadows.agreement import histogram


@dataclass(frozen=True, slots=True)
class StudyDiff:
    """Of one study and service. `not_comparable`: why nothing can be said of it; then there are no changes."""

    study_instance_uid: str
    service: str
    accession_number: AccessionNumber | None = None
    changes: tuple[Change, ...] = ()
    not_comparable: str = ""
    score_then: float | None = None
    score_now: float | None = None

    @property
    def key(self) -> Key:
        return self.study_instance_uid, self.service


@dataclass(frozen=True, slots=True)
class Diff:
    """`then` and `now`: what is compared, in words. `scores_then`, `scores_now`: as `agreement.histogram`, of those that both
    analysed. `notes`: what is to be known of the whole; `unfinished`: the replay is not done, so nothing follows from no change."""

    now: str
    then: str
    studies: tuple[StudyDiff, ...] = ()
    models_then: tuple[tuple[str, int], ...] = ()
    models_now: tuple[tuple[str, int], ...] = ()
    scores_then: tuple[int, ...] = ()
    scores_now: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    unfinished: bool = False

    @property
    def changed(self) -> tuple[StudyDiff, ...]:
        return tuple(one for one in self.studies if one.changes)

    @property
    def not_comparable(self) -> tuple[StudyDiff, ...]:
        return tuple(one for one in self.studies if one.not_comparable)

    @property
    def counts(self) -> dict[Kind, int]:
        """Of each kind how many studies and services have it."""
        found = Counter(kind for one in self.studies for kind in {change.kind for change in one.changes})
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def is_clean(self, *, allow_not_comparable: bool) -> bool:
        """Whether a release may go on."""
        return not self.changed and not self.unfinished and (allow_not_comparable or not self.not_comparable)


def differences(then: Side, now: Side, tolerance: Tolerance) -> tuple[StudyDiff, ...]:
    """By study and service; of each the last state that counts."""
    keys = {*then.latest, *now.latest}
    return tuple(_study(key, then, now, tolerance) for key in sorted(keys))


def scores(several: Sequence[StudyDiff]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Histograms of then and now."""
    both = [(one.score_then, one.score_now) for one in several]
    pairs = [(a, b) for a, b in both if a is not None and b is not None]
    return histogram(a for a, _ in pairs), histogram(b for _, b in pairs)


def _study(key: Key, then: Side, now: Side, tolerance: Tolerance) -> StudyDiff:
    old, new = then.state(key), now.state(key)
    said = old or new
    assert said is not None
    changes: tuple[Change, ...] = ()
    why = _not_comparable(key[0], old, new, then, now)
    if old is not None and new is not None and not why:
        changes = (*states_differ(old, new, tolerance), *_decided(key, then, now))
    elif not why:
        changes = (Change("only-then", "no answer now"),) if new is None else (Change("only-now", "no answer then"),)
    return StudyDiff(
        study_instance_uid=key[0],
        service=key[1],
        accession_number=said.findings.subject.accession_number,
        changes=changes,
        not_comparable=why,
        score_then=None if old is None else old.findings.probability,
        score_now=None if new is None else new.findings.probability,
    )


def _not_comparable(study: str, old: State | None, new: State | None, then: Side, now: Side) -> str:
    for side, state, when in ((now, new, "now"), (then, old, "then")):
        letter = side.letters.get(study)
        if letter is not None and (state is None or state.sequence < letter.sequence):
            return f"{when} a dead letter of {letter.step}: {letter.reason}"
    if old is not None and new is not None and (number := other_pixels(old.findings, new.findings)):
        return f"{number} image(s) have other pixels than then"
    return ""


def _decided(key: Key, then: Side, now: Side) -> Iterator[Change]:
    if (states := then.states(key)) != (today := now.states(key)):
        yield Change("decided", f"{states} state(s) then, {today} now")
    one, other = then.asked.get(key[0]), now.asked.get(key[0])
    if one is None or other is None:
        return
    if one.lane != other.lane:
        yield Change("decided", f"lane {one.lane} then, {other.lane} now")
    if one.priority != other.priority:
        yield Change("decided", f"priority {one.priority.value} then, {other.priority.value} now")

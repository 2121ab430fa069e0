"""What was said then against what is said now, study by study. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.identifiers import AccessionNumber
from streams.replay.changes import KINDS, Change, Kind, Tolerance, other_pixels, states_differ
from streams.replay.letters import Letter
from streams.replay.said import Key, Side, State
from streams.shadows.agreement import histogram


@dataclass(frozen=True, slots=True)
class StudyDiff:
    """Of one study and service. `not_comparable`: why nothing can be said of it; then there are no changes. `failed`: and no image
    is to blame, but a model or a step gave up. `compared`: both sides have an answer, and they were held against each other.
    `given_up`: what both sides gave up on, for the same reason: no difference, and nothing that was shown."""

    study_instance_uid: str
    service: str
    accession_number: AccessionNumber | None = None
    changes: tuple[Change, ...] = ()
    not_comparable: str = ""
    failed: bool = False
    compared: bool = False
    given_up: str = ""
    score_then: float | None = None
    score_now: float | None = None

    @property
    def key(self) -> Key:
        return self.study_instance_uid, self.service


@dataclass(frozen=True, slots=True)
class Diff:
    """`then` and `now`: what is compared, in words. `scores_then`, `scores_now`: as `agreement.histogram`, of those that both
    analysed. `notes`: what is to be known of the whole; `unfinished`: the replay is not done, so nothing follows from no change.
    `failures`: dead letters of the replay that are of no study, and which the other side does not have. `gone`: stretches of what
    was selected that the log did not hold any more."""

    now: str
    then: str
    studies: tuple[StudyDiff, ...] = ()
    models_then: tuple[tuple[str, int], ...] = ()
    models_now: tuple[tuple[str, int], ...] = ()
    scores_then: tuple[int, ...] = ()
    scores_now: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    unfinished: bool = False
    failures: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[StudyDiff, ...]:
        return tuple(one for one in self.studies if one.changes)

    @property
    def not_comparable(self) -> tuple[StudyDiff, ...]:
        return tuple(one for one in self.studies if one.not_comparable)

    @property
    def failed(self) -> tuple[StudyDiff, ...]:
        """Of those that are not comparable: a model or a step gave up."""
        return tuple(one for one in self.not_comparable if one.failed)

    @property
    def given_up(self) -> tuple[StudyDiff, ...]:
        """On both sides, for the same reason, where nothing else stands against it."""
        return tuple(one for one in self.studies if one.given_up and not one.changes and not one.not_comparable)

    @property
    def held_together(self) -> int:
        """How many studies and services have an answer on both sides that could be compared."""
        return sum(one.compared for one in self.studies)

    @property
    def counts(self) -> dict[Kind, int]:
        """Of each kind how many studies and services have it."""
        found = Counter(kind for one in self.studies for kind in {change.kind for change in one.changes})
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def is_clean(self, *, allow_not_comparable: bool) -> bool:
        """Whether a release may go on. Only images and records that are gone, or images that are others, are ever excused; where
        nothing was compared nothing was shown."""
        if self.changed or self.unfinished or self.failures or self.failed:
            return False
        return self.held_together > 0 and (allow_not_comparable or not (self.not_comparable or self.gone))


def differences(then: Side, now: Side, tolerance: Tolerance) -> tuple[StudyDiff, ...]:
    """By study and service; of each the last state that counts."""
    keys = {*then.latest, *now.latest, *then.letters, *now.letters}
    return tuple(_study(key, then, now, tolerance) for key in sorted(keys))


def failures(then: Side, now: Side) -> tuple[str, ...]:
    """In words; see `failure_letters`."""
    return tuple(map(str, failure_letters(then, now)))


def failure_letters(then: Side, now: Side) -> tuple[Letter, ...]:
    """Dead letters of no study, that the other side does not have."""
    return tuple(letter for twin, letter in now.other_letters.items() if twin not in then.twins)


def scores(several: Sequence[StudyDiff]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Histograms of then and now."""
    both = [(one.score_then, one.score_now) for one in several]
    pairs = [(a, b) for a, b in both if a is not None and b is not None]
    return histogram(a for a, _ in pairs), histogram(b for _, b in pairs)


def _study(key: Key, then: Side, now: Side, tolerance: Tolerance) -> StudyDiff:
    old, new = then.state(key), now.state(key)
    said = old or new
    changes: tuple[Change, ...] = ()
    why, failed, given_up = _not_comparable(key, old, new, then, now)
    if not why:
        why = _lost(key, old, new, then, now)
    if old is not None and new is not None and not why:
        changes = (*states_differ(old, new, tolerance), *_decided(key, then, now))
    elif said is not None and not why:
        changes = (Change("only-then", "no answer now"),) if new is None else (Change("only-now", "no answer then"),)
    return StudyDiff(
        study_instance_uid=key[0],
        service=key[1],
        accession_number=None if said is None else said.findings.subject.accession_number,
        changes=changes,
        not_comparable=why,
        failed=failed,
        given_up=given_up,
        compared=old is not None and new is not None and not why,
        score_then=None if old is None else old.findings.probability,
        score_now=None if new is None else new.findings.probability,
    )


def _not_comparable(key: Key, old: State | None, new: State | None, then: Side, now: Side) -> tuple[str, bool, str]:
    """Why, whether a model or a step is to blame, and what was given up on both sides for one reason, which is no difference."""
    mine, its = list(now.given_up(key)), [letter for letter in then.given_up(key) if _answers(letter)]
    own, others = {letter.twin for letter in mine}, {letter.twin for letter in its}
    both = [letter for letter in mine if letter.twin in others or (not _answers(letter) and letter.twin in then.twins)]
    given_up = str(both[0]) if both else ""
    told = [("now", letter) for letter in mine if letter not in both]
    told += [("then", letter) for letter in its if letter.twin not in own]
    if told:
        told.sort(key=lambda one: one[1].image_is_gone)  # the fault first
        when, letter = told[0]
        return f"{when} {letter}", not letter.image_is_gone, given_up
    if old is not None and new is not None and (number := other_pixels(old.findings, new.findings)):
        return f"{number} image(s) have other pixels than then", False, given_up
    return "", False, given_up


def _lost(key: Key, old: State | None, new: State | None, then: Side, now: Side) -> str:
    """Why the last word of a side may be one that nobody has any more. Of what one side alone has the other is asked."""
    for when, side, own, other in (("then", then, old, new), ("now", now, new, old)):
        if other is not None and (lost := side.lacks(key, behind=own)) is not None:
            return f"what was said {when}{'' if own is None else ' last'} may be of {lost}, which is gone"
    return ""


def _answers(letter: Letter) -> bool:
    """Of a step whose answer the other side may have got all the same, when it was tried again."""
    return letter.of_analysis or letter.step == "report"


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

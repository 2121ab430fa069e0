"""`radstream replay publish`: what a replay said of some studies becomes, by a person's word, what receivers are told.

The command writes the act and then, on `ai.results`, a state that stands above what it replaces and below what `correlate` decides
next. From there on it is an answer as any other: heard, marked, recalled, delivered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from pydantic import ValidationError

from schemas.acts import ReplayPublished
from schemas.errors import SettingsInvalid
from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import identity
from schemas.model_events import ModelRecalled
from schemas.ports import Clock, EventLog
from streams import topics
from streams.emission import emit, emit_findings
from streams.replay.changes import Tolerance, other_pixels, states_differ
from streams.replay.diffing import Compared
from streams.replay.said import Key, State
from streams.sequences import AFTER_VERIFICATION, RECALLED, published_after

#: why `correlate` says that a study is not analysed: no answer of a model takes its place
_OF_THE_STUDY = frozenset(
    {
        NotAnalysedReason.NO_ORDER,
        NotAnalysedReason.ORDER_CANCELLED,
        NotAnalysedReason.IDENTITY_MISMATCH,
        NotAnalysedReason.NO_IMAGE,
        NotAnalysedReason.LATE,
    }
)


@dataclass(frozen=True, slots=True)
class Approval:
    """Who answers for it, and why."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Publication:
    """What becomes of one study and service: `said` is published in the place of `standing`, or not, because of `refused`; or there
    is nothing to do, because of `nothing`."""

    key: Key
    said: State | None = None
    standing: State | None = None
    sequence: int = 0
    refused: str = ""
    nothing: str = ""


#: study, service and number of a state -> the analysis that was the first to be approved for it, as the audit tells
Claims = Mapping[tuple[str, str, int], UUID]

_AT_ONCE = "another replay was published in this place at the same moment: give the command again, and this one stands above it"


def published_id(replay: str, said: Findings) -> UUID:
    """Of the analysis that receivers are told of: of the same replay it is published once."""
    return identity("published", replay, str(said.analysis_id))


def publications(
    replay: str,
    compared: Compared,
    studies: frozenset[str] | None,
    recalled: Mapping[str, ModelRecalled],
    tolerance: Tolerance,
    claims: Claims = MappingProxyType({}),
) -> list[Publication]:
    """`studies`: these, with all their services; None: all that differ. `recalled`: by NAME/VERSION. `claims`: numbers that others
    have, also those who were cut off. Raises SettingsInvalid for a study of which the replay said nothing."""
    if studies is None:
        keys = [one.key for one in compared.diff.changed]
    else:
        keys = sorted(key for key in {*compared.now.latest, *(one.key for one in compared.diff.studies)} if key[0] in studies)
        if missing := sorted(studies - {study for study, _ in keys}):
            raise SettingsInvalid("replay publish", missing[0], "the replay said nothing of this study")
    not_comparable = {one.key: one.not_comparable for one in compared.diff.not_comparable}
    return [_publication(replay, key, compared, not_comparable.get(key, ""), recalled, tolerance, claims) for key in keys]


def _publication(
    replay: str,
    key: Key,
    compared: Compared,
    not_comparable: str,
    recalled: Mapping[str, ModelRecalled],
    tolerance: Tolerance,
    claims: Claims,
) -> Publication:
    said, standing = compared.now.latest.get(key), compared.then.standing.get(key)
    if not_comparable:
        return Publication(key, refused=f"not comparable: {not_comparable}")
    if said is None:
        return Publication(key, refused="the replay has no answer")
    if standing is None:
        return Publication(key, refused="receivers were never told anything of it: there is nothing that this could replace")
    own = published_id(replay, said.findings)
    if own in compared.then.ids:
        return Publication(key, nothing="was published before")
    if (lost := compared.then.lacks(key, behind=standing)) is not None:
        why = f"what receivers were told last may be of {lost}, which is gone: have the study analysed anew"
        return Publication(key, refused=why)
    if why := _refusal(said.findings, standing.findings, recalled):
        return Publication(key, refused=why)
    if not _says_otherwise(said, standing, tolerance):
        return Publication(key, nothing="the same stands already")
    sequence = published_after(_number_of_the_answer(standing.findings))
    while sequence is not None and claims.get((*key, sequence), own) != own:
        sequence = published_after(sequence)
    if sequence is None:
        said_why = "no number is left for another state (four replays, or numbered by an old version): have the study analysed anew"
        return Publication(key, refused=said_why)
    return Publication(key, said, standing, sequence)


def _refusal(said: Findings, standing: Findings, recalled: Mapping[str, ModelRecalled]) -> str:
    model = said.model
    if model is not None and f"{model.name}/{model.version}" in recalled:
        return f"{model.name}/{model.version}, which said it, was recalled"
    if said.not_analysed is not None and said.not_analysed.reason in (*_OF_THE_STUDY, NotAnalysedReason.MODEL_RECALLED):
        return f"the replay has no answer of a model ({said.not_analysed.reason.value})"
    if standing.not_analysed is not None and standing.not_analysed.reason in _OF_THE_STUDY:
        return f"it stands as not analysed ({standing.not_analysed.reason.value}), which no answer of a model changes"
    one, other = said.subject, standing.subject
    now = {
        "images": one.revision != other.revision,
        "another accession number": one.accession_number != other.accession_number,
        "another patient": one.patient != other.patient,
    }
    if different := [words for words, differs in now.items() if differs]:
        return f"the study has {' and '.join(different)} now than in the replay".replace("has images", "has other images")
    if other_pixels(standing, said):
        return "not comparable: the images have other pixels than those of which receivers were told"
    return "" if other.outward else "receivers are told nothing of this study (bulk)"


def _says_otherwise(said: State, standing: State, tolerance: Tolerance) -> bool:
    """Of the study itself: to which order it belongs is not what is published, nor whether a radiologist had verified."""
    return any(change.kind != "decided" for change in states_differ(said, standing, tolerance))


def _number_of_the_answer(standing: Findings) -> int:
    sequence = standing.subject.sequence
    if standing.verified_at is not None:
        return sequence - AFTER_VERIFICATION
    why = standing.not_analysed
    return sequence - RECALLED if why is not None and why.reason is NotAnalysedReason.MODEL_RECALLED else sequence


def act_of(replay: str, one: Publication, approval: Approval, at: datetime) -> ReplayPublished:
    """Raises SettingsInvalid."""
    assert one.said is not None and one.standing is not None
    findings = one.said.findings
    analysis_id, by, reason = published_id(replay, findings), approval.by.strip(), approval.reason.strip()
    try:
        return ReplayPublished(
            id=identity("replay-published", replay, str(analysis_id), str(one.sequence), by, reason),
            time=at,
            by=by,
            reason=reason,
            replay=replay,
            study_instance_uid=findings.subject.study_instance_uid,
            service=findings.service,
            analysis_id=analysis_id,
            sequence=one.sequence,
            replaced=one.standing.sequence,
        )
    except ValidationError:
        raise SettingsInvalid("replay publish", replay, "--approved-by has 1 to 200 characters, --reason 1 to 1000") from None


def as_told(one: Publication, act: ReplayPublished) -> Findings:
    """What the replay said, of the study as it stands now. A function of both and of the act: the same to the last byte when the
    command is cut off after the act and given again."""
    assert one.said is not None and one.standing is not None
    of = one.standing.findings.subject
    update = {"sequence": act.sequence, "triggered_at": max(of.triggered_at, act.time)}
    told = {"analysis_id": act.analysis_id, "subject": of.model_copy(update=update), "verified_at": None}
    return one.said.findings.model_copy(update=told)


async def publish(
    log: EventLog, replay: str, several: Sequence[Publication], approval: Approval, clock: Clock
) -> list[Publication]:
    """What became of each: those that can be are told, each after its act is on the audit. There acts stand in one order: of two
    that are approved for one number at the same moment the first has it, and the other is refused; of the same replay, and where
    one finishes what another began, both acts stay and the bytes are those of the first. Raises SettingsInvalid,
    BrokerUnavailable."""
    now = clock.now()
    told = {one.key: act_of(replay, one, approval, now) for one in several if one.said is not None}
    if not told:
        return list(several)
    before = {act.id for act in await audited_acts(log)}
    if new := [act for act in told.values() if act.id not in before]:  # who finishes their own was heard already
        await log.append([emit(topics.AUDIT, f"replay.{replay}", act, None) for act in new])
    acts = await audited_acts(log)
    first, having = {(act.analysis_id, act.sequence): act for act in reversed(acts)}, claimed(acts)
    became, states = [], []
    for one in several:
        act = told.get(one.key)
        if act is None or one.said is None:
            became.append(one)
        elif having[(*one.key, one.sequence)] != act.analysis_id:
            became.append(Publication(one.key, refused=_AT_ONCE))
        else:
            became.append(one)
            states.append(emit_findings(as_told(one, first[act.analysis_id, act.sequence]), one.said.record))
    await log.append(states)
    return became


def claimed(acts: Iterable[ReplayPublished]) -> Claims:
    """`acts`: in the order of the audit."""
    found: dict[tuple[str, str, int], UUID] = {}
    for act in acts:
        found.setdefault((str(act.study_instance_uid), act.service, act.sequence), act.analysis_id)
    return found


async def audited_acts(log: EventLog) -> list[ReplayPublished]:
    """All that was ever published of replays, in the order of the audit. Raises BrokerUnavailable."""
    found: list[ReplayPublished] = []
    async for record in log.read(topics.AUDIT.name):
        if record.header("ce_type") != ReplayPublished.TYPE:
            continue
        try:
            found.append(ReplayPublished.model_validate_json(record.value))
        except ValidationError:
            continue
    return found

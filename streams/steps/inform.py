"""`ai.results` -> one destination that is told and cannot be asked: bring it to the latest state of the study (rule 9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from pydantic import ValidationError

from schemas.errors import Conflict, InvalidResource, MalformedMessage
from schemas.events import DeliveryAcknowledged
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings
from schemas.identifiers import identity
from schemas.ports import Acknowledgement, Outgoing, Record
from schemas.tellings import Telling, Tellings
from streams.emission import emit
from streams.topics import DELIVERIES

LATER_STATE = (
    "the destination holds a later state than was ever delivered from here: "
    "was the case store lost, or does another engine write there?"
)

Tell = Callable[[Findings, Findings | None], Awaitable[Acknowledgement]]


async def inform(record: Record, *, destination: str, tell: Tell, tellings: Tellings) -> Sequence[Outgoing]:
    """Nothing of what receivers are not told. A state is not told when a later one was, or stands on the topic; nor again, once it
    was answered. What may arrive is written down before it is sent, so that a crash, or an item that is parked, forgets nothing
    that has to be replaced or withdrawn. Of a service beside the one that every study has, destinations are recorded as
    DESTINATION#SERVICE. `tell` is that of a ReportingSystem.

    Raises MalformedMessage (no Findings); Conflict when the destination knows more than we do (parked, then a person must see it);
    and what `tell` and `tellings` raise."""
    try:
        findings = Findings.model_validate_json(record.value)
    except ValidationError:  # its text quotes the input
        raise MalformedMessage("inform", str(record.place), "the value is not Findings as JSON") from None
    subject = findings.subject
    if not subject.outward:
        return []
    study, sequence = subject.study_instance_uid, subject.sequence
    place = place_of(destination, findings.service)
    if await tellings.latest_state(record.place.topic, study, findings.service) > sequence:
        return [_said(record, place, findings, "superseded", "")]  # that one is told in its place
    telling = await tellings.begin_telling(place, study, sequence, record.value)
    if telling.sequence > sequence:
        return [_said(record, place, findings, "superseded", telling.acknowledgement)]
    acknowledgement = telling.acknowledgement
    if not telling.answered:
        answer = await _told(telling, tell)
        acknowledgement = answer.reference
        if answer.superseded:
            if (await tellings.begin_telling(place, study, sequence, record.value)).sequence > sequence:
                return [_said(record, place, findings, "superseded", acknowledgement)]
            raise Conflict("inform", f"study {study} to {place}", LATER_STATE)
        await tellings.answer_telling(place, study, sequence, acknowledgement)
    return [_said(record, place, findings, "stored", acknowledgement)]


def place_of(destination: str, service: str) -> str:
    """The report of each service is held for itself: its states are ordered among themselves only."""
    return destination if service == CHEST_RADIOGRAPH_FINDINGS else f"{destination}#{service}"


async def _told(telling: Telling, tell: Tell) -> Acknowledgement:
    """The state, once for each that the receiver may hold: almost always one, or none. What was begun before and not answered is
    not told again, it may be wrong by now; but it may have arrived, even if it was refused."""
    findings = _findings(telling.findings)
    may_hold = [None if value is None else _findings(value) for value in (telling.held, *telling.unanswered)]
    if telling.unanswered and telling.held is None:
        may_hold = may_hold[1:]
    answers = [await tell(findings, held) for held in may_hold]
    return next((answer for answer in answers if answer.superseded), answers[-1])


def _findings(value: bytes) -> Findings:
    """Raises InvalidResource: another version wrote it, in another shape."""
    try:
        return Findings.model_validate_json(value)
    except ValidationError:
        raise InvalidResource("inform", "tellings", "what was told before cannot be read by this version") from None


def _said(
    record: Record, place: str, findings: Findings, outcome: Literal["stored", "superseded"], acknowledgement: str
) -> Outgoing:
    study, sequence = findings.subject.study_instance_uid, findings.subject.sequence
    event = DeliveryAcknowledged(
        id=identity("delivery", place, study, str(findings.analysis_id), str(sequence), outcome),
        time=findings.subject.triggered_at,
        destination=place,
        study_instance_uid=study,
        analysis_id=findings.analysis_id,
        sequence=sequence,
        outcome=outcome,
        acknowledgement=acknowledgement,
    )
    return emit(DELIVERIES, f"{place}|{study}", event, record)

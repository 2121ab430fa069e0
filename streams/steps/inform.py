"""`ai.results` -> one destination that is told and cannot be asked: bring it to the latest state of the study (rule 9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from pydantic import ValidationError

from schemas.errors import Conflict, InvalidResource, MalformedMessage, NotYet, Refused, Rejected
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
    """The state itself, once for each that the receiver may hold: almost always one, or none."""
    findings = _findings(telling.findings)
    held = None if telling.held is None else _findings(telling.held)
    unanswered = [_findings(value) for value in telling.unanswered]
    if findings.not_analysed is None:
        replaced = await _replaced(held, unanswered, tell)
    else:
        replaced = [one for one in (held, *unanswered) if one is not None and one.not_analysed is None]
        replaced = replaced or [unanswered[-1] if unanswered else held]
    answers = [await tell(findings, one) for one in replaced]
    return next((answer for answer in answers if answer.superseded), answers[-1])


async def _replaced(held: Findings | None, unanswered: Sequence[Findings], tell: Tell) -> Sequence[Findings | None]:
    """What was begun is finished first, so that the receiver knows what is replaced. What it refuses, as it did before, it does not
    hold; what it fails on, it may."""
    may_hold = [held]
    for one in unanswered:
        try:
            for before in may_hold:
                await tell(one, before)
        except (Rejected, Refused):
            continue
        except NotYet:
            may_hold = [before for before in (*may_hold, one) if before is not None]
        else:
            may_hold = [one]
    return may_hold


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

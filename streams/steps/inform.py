"""`ai.results` -> one destination of which we remember what it was told: bring it to the latest state of the study (rule 9)."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog
from pydantic import ValidationError

from schemas.errors import Conflict, InvalidResource, MalformedMessage, NotYet, Refused, Rejected
from schemas.findings import Findings
from schemas.ports import Acknowledgement, Outgoing, Record
from schemas.tellings import Telling, Tellings
from streams.deliveries import LATER_STATE, Outcome, delivered, place_of

Tell = Callable[[Findings, Findings | None], Awaitable[Acknowledgement]]

_log = structlog.get_logger()


async def inform(record: Record, *, destination: str, tell: Tell, tellings: Tellings) -> Sequence[Outgoing]:
    """Nothing of what receivers are not told. An answer is not told when a later state was, or stands on the topic; what says that
    there is none is told all the same until the receiver has taken a later state, which may be refused. Nothing is told again, once
    it was answered. What may arrive is written down before it is sent, so that a crash, or an item that is parked or refused,
    forgets nothing that has to be replaced or withdrawn. Of a service beside the one that every study has, destinations are
    recorded as DESTINATION#SERVICE. `tell` is that of a ReportingSystem.

    Raises MalformedMessage (no Findings); Conflict when the destination knows more than we do (parked, then a person must see it);
    and what `tell` and `tellings` raise."""
    try:
        findings = Findings.model_validate_json(record.value)
    except ValidationError:  # its text quotes the input
        raise MalformedMessage("inform", str(record.place), "the value is not Findings as JSON") from None
    subject, withdraws = findings.subject, findings.not_analysed is not None
    if not subject.outward:
        return []
    study, sequence = subject.study_instance_uid, subject.sequence
    place = place_of(destination, findings.service)
    if not withdraws and await tellings.latest_state(record.place.topic, study, findings.service) > sequence:
        return [_said(record, place, findings, "superseded", "")]  # that one is told in its place
    telling = await tellings.begin_telling(place, study, sequence, record.value)
    if telling.sequence > sequence:
        if withdraws and not telling.answered and (earlier := _earlier(telling, sequence)):
            return await _withdrawn(record, findings, earlier, place, tell, tellings)
        return [_said(record, place, findings, "superseded", telling.acknowledgement)]
    acknowledgement = telling.acknowledgement
    if not telling.answered:
        answer, left = await _told(findings, _may_hold(telling), tell)
        acknowledgement = answer.reference
        if answer.superseded:
            if (await tellings.begin_telling(place, study, sequence, record.value)).sequence > sequence:
                return [_said(record, place, findings, "superseded", acknowledgement)]
            raise Conflict("inform", f"study {study} to {place}", LATER_STATE)
        await tellings.answer_telling(place, study, sequence, acknowledgement, left)
    return [_said(record, place, findings, "stored", acknowledgement)]


async def _withdrawn(
    record: Record, findings: Findings, earlier: Sequence[bytes], place: str, tell: Tell, tellings: Tellings
) -> Sequence[Outgoing]:
    """A later state was begun and not answered, perhaps refused: what stood before both of them holds no longer."""
    study = findings.subject.study_instance_uid
    telling = await tellings.tell_earlier(place, study, record.value)
    if telling.answered:
        return [_said(record, place, findings, "superseded", telling.acknowledgement)]
    answer, _ = await _told(findings, earlier, tell)
    if not answer.superseded:
        # perhaps the later one was there, and is not any more; what it meets is the business of its own record
        with contextlib.suppress(Rejected, Refused, NotYet):
            again, left = await _told(_findings(telling.findings), _may_hold(telling), tell)
            if not again.superseded:
                await tellings.answer_telling(place, study, telling.sequence, again.reference, left)
    return [_said(record, place, findings, "superseded" if answer.superseded else "stored", answer.reference)]


def _may_hold(telling: Telling) -> Sequence[bytes | None]:
    """What was begun before and not answered may have arrived, even if it was refused. Almost always one, or None: nothing."""
    return telling.unanswered if telling.unanswered and telling.held is None else (telling.held, *telling.unanswered)


def _earlier(telling: Telling, sequence: int) -> Sequence[bytes]:
    """Of what it may hold, the states before this number."""
    return [value for value in _may_hold(telling) if value is not None and _sequence(value) < sequence]


def _sequence(value: bytes) -> int:
    """0 when another version wrote it, in another shape: older than any."""
    try:
        return _findings(value).subject.sequence
    except InvalidResource:
        return 0


async def _told(findings: Findings, may_hold: Sequence[bytes | None], tell: Tell) -> tuple[Acknowledgement, Sequence[bytes]]:
    """The state, once for each that the receiver may hold; if it takes it of none of them, as if it held nothing. What was told
    before is not told again, it may be wrong by now. The answer, and those of which it was refused, which is an alarm: a state that
    is refused for ever must keep no later one back. What has to be tried again is raised when all others were told."""
    answers: list[Acknowledgement] = []
    refused: list[bytes] = []
    refusals: list[Rejected | Refused] = []
    again: list[NotYet] = []
    for value in may_hold:
        try:
            answers.append(await tell(findings, None if value is None else _findings(value)))
        except (Rejected, Refused) as error:
            refusals.append(error)
            refused += [] if value is None else [value]
        except NotYet as error:
            again.append(error)
    if not answers and None not in may_hold:
        try:
            answers.append(await tell(findings, None))
        except (Rejected, Refused, NotYet) as error:
            raise again[0] if again else error from None
    if again:
        raise again[0]
    if not answers:
        raise refusals[0]
    if refusals:
        study, reason = findings.subject.study_instance_uid, str(refusals[0])
        _log.error("what was told before may stand there still", study_instance_uid=study, error=reason, alarm=True)
    return next((answer for answer in answers if answer.superseded), answers[-1]), refused


def _findings(value: bytes) -> Findings:
    """Raises InvalidResource: another version wrote it, in another shape."""
    try:
        return Findings.model_validate_json(value)
    except ValidationError:
        raise InvalidResource("inform", "tellings", "what was told before cannot be read by this version") from None


def _said(record: Record, place: str, findings: Findings, outcome: Outcome, acknowledgement: str) -> Outgoing:
    of = findings.subject
    about = (of.study_instance_uid, findings.analysis_id, of.sequence, of.triggered_at)
    return delivered(record, place, *about, outcome, acknowledgement)

"""One view of two sources: what people did stands on `radstream.audit`; what the engine did is read from what it wrote anyway,
deliveries and dead letters. Each names the record it came from, so that its chain of causes can be followed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from schemas.acts import (
    ACTS,
    Act,
    DeadLetterDiscarded,
    DeadLetterResent,
    Looked,
    ReplayBegun,
    ReplayPublished,
    ReplayRemoved,
    SettingsChanged,
)
from schemas.discrepancies import DiscrepancyAcknowledged
from schemas.events import DeliveryAcknowledged
from schemas.history import History, Span
from schemas.model_events import MODEL_EVENTS, ModelPromoted, ModelRecalled, ModelShadowed
from schemas.ports import Record
from schemas.renderings.audited import Audited, Deed
from streams import topics
from streams.across import across_gaps
from streams.printable import printable
from streams.topics import Topic

PEOPLE: tuple[Topic, ...] = (topics.AUDIT,)
ENGINE: tuple[Topic, ...] = (topics.DELIVERIES, topics.DEAD_LETTERS)
#: of a Looked
AUDIT_EXPORT = "audit export"

_KINDS: dict[str, type[BaseModel]] = {**ACTS, **MODEL_EVENTS, DiscrepancyAcknowledged.TYPE: DiscrepancyAcknowledged}


async def spans_of(history: History, of: Sequence[Topic], since: datetime | None = None) -> list[Span]:
    """What there is to see now, from that moment on. Raises BrokerUnavailable."""
    found: list[Span] = []
    for topic in of:
        found += await (history.spans(topic.name) if since is None else history.since(topic.name, since))
    return found


async def entries(
    history: History,
    spans: Sequence[Span],
    tell: Callable[[Span], None],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> AsyncIterator[Audited]:
    """In the order of the log, partition by partition; `since` and `until` (not with it): when it was written. `tell` hears of what
    neither log nor archive has. Each span is read to its end, for the clocks of those who write differ. Raises as
    `History.records`."""
    for span in spans:
        async for record in across_gaps(history, span, tell):
            if (since is None or record.timestamp >= since) and (until is None or record.timestamp < until):
                yield audited_of(record)


def said_of(gap: Span) -> str:
    """For people."""
    last = f"-{gap.end - 1}" if len(gap) > 1 else ""
    where = f"{gap.topic}/{gap.partition} offsets {gap.first}{last}"
    return f"{where}: neither the log nor the archive has these records (retention), and what they told is missing here"


def audited_of(record: Record) -> Audited:
    """What a record of one of these topics tells; what cannot be read is told too, for a view that leaves out is none."""
    if record.place.topic == topics.DEAD_LETTERS.name:
        return _letter(record)
    if record.place.topic == topics.DELIVERIES.name:
        return _delivery(record)
    kind = _KINDS.get(record.header("ce_type") or "")
    try:
        event = kind.model_validate_json(record.value) if kind else None
    except ValidationError:
        event = None
    match event:
        case Act():
            told: dict[str, Any] = {"by": event.by, "reason": event.reason, "outcome": event.outcome, **_of_act(event)}
        case ModelPromoted() | ModelShadowed() | ModelRecalled():
            told = {"by": event.approved_by, "reason": event.reason, **_of_model(event)}
        case DiscrepancyAcknowledged():
            told = {
                "by": event.acknowledged_by,
                "reason": event.reason,
                "deed": Deed.DISCREPANCY_ACKNOWLEDGED,
                "words": f"acknowledged discrepancy {event.discrepancy_id}",
                "study": event.study_instance_uid,
            }
        case _:
            told = {"deed": Deed.OTHER, "words": "an act that this version of radstream cannot read"}
    return _told(record, **told)


def _of_act(act: Act) -> dict[str, Any]:
    match act:
        case Looked(what=what, places=places):
            deed = Deed.AUDIT_EXPORTED if what == AUDIT_EXPORT else Deed.LOOKED
            shown = f"saw {len(places)} {'record' if len(places) == 1 else 'records'}" if places else "looked"
            return {"deed": deed, "words": f"{shown} ({what})", "places": places, "subject": act.subject}
        case DeadLetterResent(letter=letter):
            corrected = ", corrected" if act.corrected_sha256 else ""
            return {"deed": Deed.LETTER_RESENT, "words": f"sent a dead letter again{corrected}", "places": (letter,)}
        case DeadLetterDiscarded(letter=letter):
            return {"deed": Deed.LETTER_DISCARDED, "words": "discarded a dead letter", "places": (letter,)}
        case ReplayBegun():
            words = f"replayed {act.records} records into sandbox {act.replay}"
            return {"deed": Deed.REPLAY_BEGUN, "words": words, "names": act.models}
        case ReplayRemoved():
            return {"deed": Deed.REPLAY_REMOVED, "words": f"removed replay {act.replay} with its sandbox"}
        case ReplayPublished():
            words = f"published state {act.sequence} of {act.service} from replay {act.replay}"
            return {"deed": Deed.REPLAY_PUBLISHED, "words": words, "study": act.study_instance_uid}
        case SettingsChanged(names=names):
            words = f"began with {len(names)} changed {'setting' if len(names) == 1 else 'settings'}"
            return {"deed": Deed.SETTINGS_CHANGED, "words": words, "names": names}
    return {"deed": Deed.OTHER, "words": "an act of a kind that this view does not know"}


def _of_model(event: ModelPromoted | ModelShadowed | ModelRecalled) -> dict[str, Any]:
    model = f"{event.name}/{event.version}"
    match event:
        case ModelPromoted():
            words = f"promoted {model}"
        case ModelShadowed():
            words = f"{'ended' if event.ended else 'began'} the shadow of {model} in sandbox {event.sandbox}"
        case ModelRecalled():
            words = f"recalled {model}"
    return {"deed": Deed.MODEL_CHANGED, "words": words, "names": (model,)}


def _delivery(record: Record) -> Audited:
    try:
        event = DeliveryAcknowledged.model_validate_json(record.value)
    except ValidationError:
        return _told(record, deed=Deed.OTHER, words="a delivery that this version of radstream cannot read")
    state = f"state {event.sequence} of the study"
    stored = event.outcome == "stored"
    return _told(
        record,
        deed=Deed.DELIVERED,
        words=f"delivered {state} to {event.destination}" if stored else f"{event.destination} holds a later one than {state}",
        outcome="done" if stored else "failed",
        study=event.study_instance_uid,
        destination=event.destination,
        acknowledgement=event.acknowledgement,
    )


def _letter(record: Record) -> Audited:
    step, error = record.header("step") or "?", record.header("error") or "?"
    words = f"could not finish a record of {record.header('topic')} ({step}): {error}"
    reason = record.header("reason") or ""
    return _told(record, deed=Deed.NOT_FINISHED, words=words, reason=reason, outcome="failed", step=step)


def _told(record: Record, **known: Any) -> Audited:
    headers = {"id": record.header("ce_id") or "", "type": record.header("ce_type") or "", "cause": record.header("cause")}
    return Audited(place=str(record.place), at=record.timestamp, **{name: _plain(one) for name, one in (headers | known).items()})


def _plain(value: Any) -> Any:
    """Not on a terminal, nor in a line of an export."""
    if type(value) is str:
        return printable(value)
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value

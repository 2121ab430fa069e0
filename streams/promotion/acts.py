"""Acts about models, as the compacted topic `radstream.models` tells them: what was promoted last, what runs in the shadow, what
was recalled, and which worker uses what. In order of the log, never by their own times: clocks differ, and the topic has one
partition."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from schemas.errors import MalformedMessage
from schemas.findings import ModelIdentity
from schemas.identifiers import identity
from schemas.model_events import MODEL_EVENTS, ModelEvent, ModelPromoted, ModelRecalled, ModelShadowed, ModelTaken
from schemas.ports import EventLog, Outgoing, Place, Record
from streams import topics
from streams.emission import JSON, emit, headers

#: of a package that was not loaded: nobody looked at its weights
NOT_LOADED = "0" * 64


@dataclass(frozen=True, slots=True)
class Act:
    """A promotion, and the record that told it."""

    event: ModelPromoted
    record: Record

    @property
    def reference(self) -> str:
        """NAME/VERSION."""
        return f"{self.event.name}/{self.event.version}"

    @property
    def digest(self) -> str:
        """Of the weights that were approved."""
        return self.event.weights_sha256


@dataclass(frozen=True, slots=True)
class Taken:
    """What a worker said last, where, and because of which record ("topic/partition/offset")."""

    event: ModelTaken
    place: Place
    cause: str | None


@dataclass(slots=True)
class Acts:
    """The topic, folded: the last word of each service, sandbox and worker (by its key), and the recalls (by NAME/VERSION), which
    are never taken back."""

    promoted: dict[str, Act] = field(default_factory=dict)
    shadows: dict[str, ModelShadowed] = field(default_factory=dict)
    recalled: dict[str, ModelRecalled] = field(default_factory=dict)
    workers: dict[str, Taken] = field(default_factory=dict)
    _seen: int = -1

    def see(self, record: Record) -> bool:
        """False: it was seen before (read again from the beginning). Raises MalformedMessage, once, when it is no act."""
        if record.place.offset <= self._seen:
            return False
        self._seen = record.place.offset
        key = (record.key or b"").decode("utf-8", "replace")
        if not record.value:  # a worker that ended, and uses nothing any more
            self.workers.pop(key, None)
            return True
        event = _event_of(record)
        match event:
            case ModelPromoted():
                self.promoted[event.service] = Act(event, record)
            case ModelShadowed(ended=True):
                self.shadows.pop(event.sandbox, None)
            case ModelShadowed():
                self.shadows[event.sandbox] = event
            case ModelRecalled():
                self.recalled.setdefault(f"{event.name}/{event.version}", event)
            case ModelTaken():
                self.workers[key] = Taken(event, record.place, record.header("cause"))
        return True


def _event_of(record: Record) -> ModelPromoted | ModelShadowed | ModelRecalled | ModelTaken:
    kind = MODEL_EVENTS.get(record.header("ce_type") or "")
    try:
        if kind is not None:
            return kind.model_validate_json(record.value)
    except ValidationError:
        pass
    raise MalformedMessage("models", str(record.place), "no act about a model")


def promotion(
    of: ModelIdentity, service: str, *, card_sha256: str | None = None, approved_by: str, reason: str, at: datetime
) -> ModelPromoted:
    """An act of a person, at this moment: the same package may be promoted again."""
    return ModelPromoted(
        id=identity("promotion", of.name, of.version, at.isoformat()),
        time=at,
        name=of.name,
        version=of.version,
        service=service,
        weights_sha256=of.weights_sha256,
        card_sha256=card_sha256,
        approved_by=approved_by,
        reason=reason,
    )


def promoted(record: Record) -> Act | None:
    """Of a record of the audit; None when it is about something else, or cannot be read."""
    if record.header("ce_type") != ModelPromoted.TYPE:
        return None
    try:
        return Act(ModelPromoted.model_validate_json(record.value), record)
    except ValidationError:
        return None


def recall(name: str, version: str, *, approved_by: str, reason: str, at: datetime) -> ModelRecalled:
    """An act of a person, at this moment. Raises ValidationError."""
    return ModelRecalled(
        id=identity("recall", name, version, at.isoformat()),
        time=at,
        name=name,
        version=version,
        approved_by=approved_by,
        reason=reason,
    )


def recall_key(event: ModelRecalled) -> str:
    """One for each version: compaction keeps every recall."""
    return f"recalled.{event.name}.{event.version}"


async def promoted_before(log: EventLog, service: str) -> list[Act]:
    """Every package that a person promoted for the service, once each, the newest first. The audit knows it: on the compacted topic
    a later one of the same name has taken its place. Raises BrokerUnavailable."""
    found: dict[str, Act] = {}
    async for record in log.read(topics.AUDIT.name):
        act = promoted(record)
        if act is not None and act.event.service == service:
            found.pop(act.reference, None)
            found[act.reference] = act
    return list(reversed(found.values()))


def told(event: ModelEvent | ModelRecalled, key: str) -> list[Outgoing]:
    """For those who act on it, and for the audit."""
    return [emit(topics.MODELS, key, event, None), emit(topics.AUDIT, key, event, None)]


async def audit_and_tell(log: EventLog, event: ModelEvent | ModelRecalled, key: str) -> Place:
    """The audit first, for what acts was audited. Returns where those who act on it read it. Raises BrokerUnavailable."""
    act, audited = told(event, key)
    await log.append([audited])
    (place,) = await log.append([act])
    return place


def worker_key(worker: str, service: str) -> str:
    """The key of what a worker uses for a service."""
    return f"worker.{worker}.{service}"


def taken(worker: str, service: str, uses: ModelIdentity, act: Act | None, at: datetime, reason: str = "") -> Outgoing:
    """What the worker uses now, because of that act (None: nothing was promoted, it began at that time). `reason`: why it is not
    what the act says, or that it uses nothing (`uses` then is what it may not use)."""
    about = str(act.event.id) if act else at.isoformat()
    event = ModelTaken(
        id=identity("model-taken", worker, service, about, uses.name, uses.version, reason),
        time=act.event.time if act else at,
        worker=worker,
        service=service,
        name=uses.name,
        version=uses.version,
        weights_sha256=uses.weights_sha256,
        well=not reason,
        reason=reason,
    )
    return emit(topics.MODELS, worker_key(worker, service), event, act.record if act else None)


def ended(worker: str, service: str, at: datetime) -> Outgoing:
    """The worker has ended and uses nothing any more."""
    id = identity("model-taken", worker, service, at.isoformat(), "ended")
    said = headers(id=str(id), type=ModelTaken.TYPE, time=at, cause=None, content_type=JSON)
    return Outgoing(topics.MODELS.name, worker_key(worker, service).encode("utf-8"), b"", said)

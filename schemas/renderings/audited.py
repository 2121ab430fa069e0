"""What was done, as the renderings for audit repositories take it: by a person, or by the engine itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from schemas.identifiers import PatientIdentifier, StudyInstanceUID


class Deed(StrEnum):
    """What kind of thing. OTHER: an act of another version of radstream, known by its CloudEvents type alone."""

    LOOKED = "looked"
    AUDIT_EXPORTED = "audit exported"
    LETTER_RESENT = "dead letter resent"
    LETTER_DISCARDED = "dead letter discarded"
    REPLAY_BEGUN = "replay begun"
    REPLAY_REMOVED = "replay removed"
    REPLAY_PUBLISHED = "replay published"
    SETTINGS_CHANGED = "settings changed"
    MODEL_CHANGED = "model changed"
    DISCREPANCY_ACKNOWLEDGED = "discrepancy acknowledged"
    DELIVERED = "delivered"
    NOT_FINISHED = "not finished"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Audited:
    """One thing that was done. `id`, `type`: of the record that tells it (CloudEvents), `place` where that stands (TOPIC/PARTITION/
    OFFSET), `at` when it was written there. `words`: what was done, without patient data. `by`: the person, None: the engine.

    `study`, `destination`, `acknowledgement` of a delivery; `step` of what could not be finished; `names` of settings or models;
    `places` of records that it is about; `subject` the keyed hash of the number that was asked for; `cause` the place of the record
    that led to it. `patients`: one identifier of each person that it concerns, as far as they were looked up."""

    id: str
    type: str
    place: str
    at: datetime
    deed: Deed
    words: str
    by: str | None = None
    reason: str = ""
    outcome: Literal["begun", "done", "failed"] = "done"
    study: StudyInstanceUID | None = None
    destination: str | None = None
    acknowledgement: str = ""
    step: str | None = None
    names: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    subject: str | None = None
    cause: str | None = None
    patients: tuple[PatientIdentifier, ...] = ()


@dataclass(frozen=True, slots=True)
class Receiver:
    """A destination of the settings: what it is, and its address, without credentials. MLLP: HOST:PORT."""

    kind: Literal["fhir", "archive", "oru", "webhook"]
    address: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where it was done. `site`: who assigns its numbers; `machine`: the name of the machine on which all of the engine runs, None
    when it runs on several: then nobody knows which one did it. `receivers`: by the name of the destination."""

    site: str
    version: str
    machine: str | None = None
    receivers: Mapping[str, Receiver] = field(default_factory=dict)

    def receiver(self, destination: str | None) -> Receiver | None:
        """DESTINATION, or DESTINATION#SERVICE."""
        return self.receivers.get((destination or "").partition("#")[0])

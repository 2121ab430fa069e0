"""What people did: events on `radstream.audit`, beside those about models and discrepancies, which say the same themselves.
Each says who, what, when, why and with which outcome; none holds patient data: what it is about is named by its place on the log,
or by a keyed hash that the export resolves."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from schemas.events import Event
from schemas.findings import Digest, ServiceName
from schemas.identifiers import StudyInstanceUID
from schemas.model_events import SandboxName

Who = Annotated[str, Field(min_length=1, max_length=200)]
Why = Annotated[str, Field(min_length=1, max_length=1000)]
#: TOPIC/PARTITION/OFFSET
PlaceText = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+/[0-9]+/[0-9]+$")]


class Act(Event):
    """`outcome`: of long work two are told, "begun" before it and how it ended after it; everything else is told once, before it
    is done, for what acts was audited."""

    by: Who
    reason: Why
    outcome: Literal["begun", "done", "failed"] = "done"


class Looked(Act):
    """Patient data was shown to a person. `what`: the command. `subject`: keyed hash (HMAC-SHA-256, hex) of the number that was
    asked for."""

    TYPE: ClassVar[str] = "org.radstream.looked.v1"
    what: Annotated[str, Field(pattern=r"^[a-z][a-z -]*$", max_length=40)]
    places: tuple[PlaceText, ...] = ()
    subject: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class DeadLetterResent(Act):
    """The record of a dead letter is sent again. `letter_id`: its ce_id. `corrected_sha256`: of the value that was sent in the
    place of the original one, which stays where it is."""

    TYPE: ClassVar[str] = "org.radstream.dead-letter.resent.v1"
    letter: PlaceText
    letter_id: UUID
    corrected_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class DeadLetterDiscarded(Act):
    """Nobody needs to look at it any more; it stays where it is."""

    TYPE: ClassVar[str] = "org.radstream.dead-letter.discarded.v1"
    letter: PlaceText
    letter_id: UUID


class ReplayBegun(Act):
    """A replay writes into `sandbox.<replay>.*`. `selection`: as JSON, numbers of patients as keyed hashes; `models`:
    NAME/VERSION."""

    TYPE: ClassVar[str] = "org.radstream.replay.begun.v1"
    replay: SandboxName
    selection: str
    records: Annotated[int, Field(ge=0)]
    models: tuple[str, ...] = ()


class ReplayRemoved(Act):
    """All that a replay has written, its sandbox and its folder, is deleted; what was published of it stays."""

    TYPE: ClassVar[str] = "org.radstream.replay.removed.v1"
    replay: SandboxName


class ReplayPublished(Act):
    """What a replay said of a study is told to receivers, as a state of its own. `analysis_id` and `sequence` are those of that
    state; `replaced`: the sequence of what stood before. `by` has approved it."""

    TYPE: ClassVar[str] = "org.radstream.replay.published.v1"
    replay: SandboxName
    study_instance_uid: StudyInstanceUID
    service: ServiceName
    analysis_id: UUID
    sequence: Annotated[int, Field(ge=1)]
    replaced: Annotated[int, Field(ge=1)]


class SettingsChanged(Act):
    """The engine begins with other settings than the last time, the first time with others than the defaults. `names`: which, as
    RADSTREAM_SECTION__NAME; never their values. `digests`: of every setting the keyed hash of its value, to compare the next ones
    with; `key`: SHA-256 of that key."""

    TYPE: ClassVar[str] = "org.radstream.settings.changed.v1"
    names: tuple[str, ...]
    digests: dict[str, Digest]
    key: Digest


#: by CloudEvents type
ACTS: dict[str, type[Act]] = {
    kind.TYPE: kind
    for kind in (Looked, DeadLetterResent, DeadLetterDiscarded, ReplayBegun, ReplayRemoved, ReplayPublished, SettingsChanged)
}

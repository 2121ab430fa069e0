"""Acts of people about models, and what became of them: events on the compacted topic `radstream.models`.

Keys: the model's name of what was promoted, `sandbox.<name>` of what runs in its shadow, `recalled.<name>.<version>`,
`worker.<name>` of what is used where."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from schemas.events import Event
from schemas.findings import Digest

ModelName = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
ModelVersion = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.-]*$", max_length=64)]
#: of a sandbox: `sandbox.<name>.*` are its topics
SandboxName = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)]


class ModelEvent(Event):
    """Which package, by whom, why. The digests are those of weights and card when they were looked at: a package that was changed
    since, its thresholds too, is not what was approved."""

    name: ModelName
    version: ModelVersion
    service: str
    weights_sha256: Digest
    card_sha256: Digest | None = None
    approved_by: Annotated[str, Field(min_length=1, max_length=200)]
    reason: Annotated[str, Field(min_length=1, max_length=1000)]


class ModelPromoted(ModelEvent):
    """From now on this package speaks in the reports of its service, in the place of whatever spoke there."""

    TYPE: ClassVar[str] = "org.radstream.model.promoted.v1"


class ModelShadowed(ModelEvent):
    """From now on this package sees what the model in use sees; what it says goes to the sandbox alone. `ended`: no longer."""

    TYPE: ClassVar[str] = "org.radstream.model.shadowed.v1"
    sandbox: SandboxName
    ended: bool = False


class ModelRecalled(Event):
    """What this version of a model said holds no longer, and it speaks no more. `approved_by` and `reason` as of ModelEvent. Key:
    `recalled.<name>.<version>`."""

    TYPE: ClassVar[str] = "org.radstream.model.recalled.v1"
    name: ModelName
    version: ModelVersion
    approved_by: Annotated[str, Field(min_length=1, max_length=200)]
    reason: Annotated[str, Field(min_length=1, max_length=1000)]


class ModelTaken(Event):
    """What a process that analyses uses now for a service; `well` False: a package that it was told to take could not be used, for
    this reason, and it goes on with this one. Key: the worker."""

    TYPE: ClassVar[str] = "org.radstream.model.taken.v1"
    worker: str
    service: str
    name: ModelName
    version: ModelVersion
    weights_sha256: Digest
    well: bool = True
    reason: str = ""


#: by CloudEvents type
MODEL_EVENTS: dict[str, type[ModelPromoted | ModelShadowed | ModelRecalled | ModelTaken]] = {
    kind.TYPE: kind for kind in (ModelPromoted, ModelShadowed, ModelRecalled, ModelTaken)
}

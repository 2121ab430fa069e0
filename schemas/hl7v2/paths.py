"""Where something stands in a message, as people who speak HL7 write it: `OBR-18`, `ORC-3.1`, `PID-3.4.2`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema, model_serializer, model_validator

from schemas.hl7v2.message import Repetition, Segment

_PATH = re.compile(r"([A-Z][A-Z0-9]{2})-([1-9]\d{0,2})(?:\.([1-9]\d?)(?:\.([1-9]\d?))?)?\Z")

#: finds a segment by its name, in the group or message that is being read
Find = Callable[[str], Segment | None]


@dataclass(frozen=True, slots=True)
class Path:
    """A field, or a component or subcomponent of it. A path to the field means the whole field: a reader that looks for an
    identifier takes its assigner from where the field's data type (EI, CX) has it; a component is the value alone."""

    segment: str
    field: int
    component: int | None = None
    subcomponent: int | None = None

    @classmethod
    def of(cls, text: str) -> Path:
        """Raises ValueError."""
        found = _PATH.match(text.strip())
        if found is None:
            raise ValueError("is no field path such as OBR-18, ORC-3.1 or PID-3.4.2")
        name, field, component, subcomponent = found.groups()
        return cls(name, int(field), int(component) if component else None, int(subcomponent) if subcomponent else None)

    def __str__(self) -> str:
        parts = (self.field, self.component, self.subcomponent)
        return f"{self.segment}-" + ".".join(str(part) for part in parts if part is not None)

    def value(self, segment: Segment) -> str:
        """Of the first repetition; "" where absent."""
        return segment.value(self.field, self.component or 1, self.subcomponent or 1)

    def value_in(self, repetition: Repetition) -> str:
        return repetition.component(self.component or 1, self.subcomponent or 1)


def _path(value: Any) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise ValueError("is no field path such as OBR-18, ORC-3.1 or PID-3.4.2")
    return Path.of(value)


FieldPath = Annotated[Path, BeforeValidator(_path), PlainSerializer(str), WithJsonSchema({"type": "string"})]


class Place(BaseModel):
    """Where an identifier stands, and where the one who assigned it if not in the same field. In settings a path alone will
    do: "IPC-1", or {value = "OBR-18", assigner = "ZAC-2"}."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: FieldPath
    assigner: FieldPath | None = None

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, given: Any) -> Any:
        return {"value": given} if isinstance(given, (str, Path)) else given

    @model_serializer
    def _as_given(self) -> str | dict[str, str]:
        return str(self.value) if self.assigner is None else {"value": str(self.value), "assigner": str(self.assigner)}


def places(*paths: str) -> tuple[Place, ...]:
    return tuple(Place(value=Path.of(path)) for path in paths)

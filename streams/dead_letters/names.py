"""Names of members that are words of a format. Any other may be content that somebody took for a name: {"DOE^JANE": 1}."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from schemas.export import SHAPES

#: elements of the resources (FHIR R4) that are written to ai.findings
_FHIR = """
    agent assigner basedOn category code coding component conclusion dataAbsentReason derivedFrom device deviceName display
    effectiveDateTime entity entry extension fullUrl hasMember id identifier imagingStudy issued meta name note recorded reference
    resource resourceType result role security status subject system target text timestamp type unit url use value valueBoolean
    valueCode valueCodeableConcept valueCoding valueDateTime valueInteger valuePositiveInt valueQuantity valueString version what
    who"""


@cache
def known_names() -> frozenset[str]:
    """Of all events of ours, and of FHIR."""
    return frozenset(_FHIR.split()).union(*(_properties(kind.model_json_schema()) for kind in SHAPES.values()))


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        named = schema.get("properties")
        yield from named if isinstance(named, dict) else ()
        for one in schema.values():
            yield from _properties(one)
    elif isinstance(schema, list):
        for one in schema:
            yield from _properties(one)

"""Plain elements become a resource: checked against R4's definitions by fhir.resources, against required value sets here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir.resources.R4B.resource import Resource as Definition

from schemas.renderings.fhir.envelope import Resource

#: R4 required bindings of what we write, by resource and path: fhir.resources takes any code there.
#: Of each value set those codes that a machine may ever say (rule 10): "final", say, is none of them.
_REQUIRED: dict[str, dict[str, frozenset[str]]] = {
    #: diagnostic-report-status
    "DiagnosticReport": {"status": frozenset({"partial", "cancelled"}), "identifier.use": frozenset({"official"})},
    #: observation-status
    "Observation": {"status": frozenset({"preliminary", "cancelled"})},
    #: device-status, device-nametype
    "Device": {"status": frozenset({"active"}), "deviceName.type": frozenset({"model-name"})},
    #: provenance-entity-role
    "Provenance": {"entity.role": frozenset({"source"})},
    #: audit-event-action, audit-event-outcome, network-type
    "AuditEvent": {
        "action": frozenset("CRUDE"),
        "outcome": frozenset({"0", "4", "8"}),
        "agent.network.type": frozenset({"1", "5"}),
    },
}


def resource_of(definition: type[Definition], elements: dict[str, Any]) -> Resource:
    """The elements, in JSON's own types, as they will be written. R4B classes: these resources are the same in R4 (4.0.1). Raises
    ValueError: the definition or a required value set is broken."""
    definition.model_validate(elements)
    name = definition.get_resource_type()
    for path, allowed in _REQUIRED[name].items():
        if any(code not in allowed for code in _at(elements, path.split("."))):
            raise ValueError(f"{name}.{path}: a code outside its required value set, or one that no machine may say")
    return {"resourceType": name} | elements


def _at(node: Any, path: list[str]) -> Iterator[Any]:
    for one in node if isinstance(node, list) else [node]:
        if not path:
            yield one
        elif path[0] in one:
            yield from _at(one[path[0]], path[1:])

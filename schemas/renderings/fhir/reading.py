"""A Bundle of ours back into Findings: nothing that was said is lost on the way to a receiver."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, FindingKind, Findings
from schemas.renderings.fhir import codes
from schemas.renderings.fhir.envelope import (
    OUTWARD,
    REVISION,
    SEQUENCE,
    SERVICE,
    VERIFIED_AT,
    Resource,
    not_analysed_reason,
    open_bundle,
)
from schemas.renderings.fhir.provenance import ANALYSED_IMAGE, MESSAGE, RECORD, TRACE_ID, Origin

_KINDS: dict[str, FindingKind] = {code.code: kind for kind, code in codes.KINDS.items()}
_NUMBERS = {
    codes.ACCESSION_ID.code: "accession_number",
    codes.PLACER_IDENTIFIER.code: "placer_order_number",
    codes.FILLER_IDENTIFIER.code: "filler_order_number",
}


def findings_of(bundle: bytes) -> Findings:
    """What `bundle_of` was given. No site is needed: each number names its assigner. Numbers are read as the floats they were
    written from. Raises ValueError, whose text holds nothing of the content."""
    try:
        envelope = open_bundle(bundle)
        return _findings(json.loads(bundle), envelope.report, envelope.resources)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError("not a Bundle of ai.findings") from None


def origin_of(bundle: bytes) -> Origin:
    """Raises as `findings_of`."""
    try:
        (provenance,) = _of_type("Provenance", open_bundle(bundle).resources)
        places = [entity["what"].get("identifier", {}) for entity in provenance["entity"]]
        return Origin(
            trace_id=_extensions(provenance).get(TRACE_ID),
            records=tuple(place["value"] for place in places if place.get("system") == RECORD),
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError("not a Bundle of ai.findings") from None


def _findings(bundle: Resource, report: Resource, resources: tuple[Resource, ...]) -> Findings:
    observations = list(_of_type("Observation", resources))
    (provenance,) = _of_type("Provenance", resources)
    told = _extensions(report)
    located = [observation for observation in observations if _kind(observation) is not None]
    root = next((one for one in observations if _codes(one["code"]) & {codes.NODULE_OR_MASS.code, codes.ANALYSIS.code}), {})
    threshold = _components(root).get(codes.THRESHOLD.code)
    return Findings.model_validate(
        {
            "analysis_id": bundle["identifier"]["value"],
            "subject": _subject(report, told) | {"messages": list(_messages(provenance))},
            "service": told.get(SERVICE, CHEST_RADIOGRAPH_FINDINGS),
            "model": next(map(_model, _of_type("Device", resources)), None),
            "images": [_image(entity) for entity in provenance["entity"] if _is_image(entity)],
            "findings": [_finding(ordinal, observation) for ordinal, observation in enumerate(located, start=1)],
            "threshold": threshold["value"] if threshold else None,
            "not_analysed": _not_analysed(root),
            "verified_at": told.get(VERIFIED_AT),
        }
    )


def _of_type(name: str, resources: Iterable[Resource]) -> Iterable[Resource]:
    return (resource for resource in resources if resource["resourceType"] == name)


def _extensions(element: Resource) -> dict[str, Any]:
    """Value by URL; of one that has extensions itself, they."""
    return {
        extension["url"]: next((value for name, value in extension.items() if name.startswith("value")), None)
        for extension in element.get("extension", ())
    }


def _codes(concept: dict[str, Any]) -> set[str]:
    return {coding["code"] for coding in concept["coding"]}


def _components(observation: Resource) -> dict[str, Any]:
    """Value by the first code."""
    return {
        component["code"]["coding"][0]["code"]: next(value for name, value in component.items() if name.startswith("value"))
        for component in observation.get("component", ())
    }


# ------------------------------------------------------------------------------------------------------------ subject


def _subject(report: Resource, told: dict[str, Any]) -> dict[str, Any]:
    numbers = [number for number in report["identifier"] if number.get("use") == "official"]
    patient = report.get("subject")
    return {
        "study_instance_uid": _uid(report["imagingStudy"][0]),
        "revision": told[REVISION],
        "sequence": told[SEQUENCE],
        "accession_number": _assigned(numbers[0]) if numbers else None,
        "patient": _assigned(patient["identifier"]) if patient else None,
        "orders": _orders(report.get("basedOn", ())),
        "triggered_at": datetime.fromisoformat(report["issued"]),
        "outward": told.get(OUTWARD, True),
        "examination": _examination(report["code"]),
    }


def _orders(references: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """`display` tells which references are one order."""
    orders: dict[str, dict[str, Any]] = {}
    for reference in references:
        number = reference["identifier"]
        name = _NUMBERS[number["type"]["coding"][0]["code"]]
        orders.setdefault(reference["display"], {})[name] = _assigned(number)
    return list(orders.values())


def _messages(provenance: Resource) -> Iterator[dict[str, str]]:
    for entity in provenance["entity"]:
        number = entity["what"].get("identifier", {})
        if number.get("system") == MESSAGE:
            yield {"sender": number["assigner"]["display"], "message_control_id": number["value"]}


def _examination(code: dict[str, Any]) -> dict[str, str] | None:
    """The general code has the words of LOINC, that of an order has none."""
    (coding,) = code["coding"]
    return None if "display" in coding else {"loinc": coding["code"], "text": code.get("text", "")}


def _assigned(identifier: dict[str, Any]) -> dict[str, str]:
    return {"value": identifier["value"], "assigner": identifier["assigner"]["display"]}


def _uid(reference: dict[str, Any]) -> str:
    return str(reference["identifier"]["value"].removeprefix("urn:oid:"))


# ------------------------------------------------------------------------------------------------- what the model said


def _model(device: Resource) -> dict[str, str]:
    version, weights = (version["value"] for version in device["version"])
    return {"name": device["deviceName"][0]["name"], "version": version, "weights_sha256": weights}


def _kind(observation: Resource) -> FindingKind | None:
    return next((_KINDS[code] for code in _codes(observation["code"]) if code in _KINDS), None)


def _finding(ordinal: int, observation: Resource) -> dict[str, Any]:
    said = _components(observation)
    names = {"left": codes.REGION_LEFT, "top": codes.REGION_TOP, "width": codes.REGION_WIDTH, "height": codes.REGION_HEIGHT}
    region = {"sop_instance_uid": said[codes.SOP_INSTANCE_UID.code], "frame": said[codes.FRAME.code]}
    return {
        "ordinal": ordinal,
        "kind": _kind(observation),
        "probability": said[codes.PROBABILITY.code]["value"],
        "region": region | {name: said[code.code]["value"] for name, code in names.items()},
        "long_axis": _long_axis(observation),
    }


def _long_axis(observation: Resource) -> dict[str, Any] | None:
    for component in observation["component"]:
        if codes.LONG_AXIS.code in (found := _codes(component["code"])):
            (plane,) = (name for name, code in codes.PLANES.items() if code.code in found)
            size = component["valueQuantity"]
            return {"value": size["value"], "unit": size["code"], "plane": plane}
    return None


def _is_image(entity: dict[str, Any]) -> bool:
    return any(extension["url"] == ANALYSED_IMAGE for extension in entity.get("extension", ()))


def _image(entity: dict[str, Any]) -> dict[str, Any]:
    (element,) = (extension for extension in entity["extension"] if extension["url"] == ANALYSED_IMAGE)
    said = _extensions(element)
    return {
        "sop_instance_uid": _uid(entity["what"]),
        "pixel_sha256": said["pixel-sha256"],
        "rows": said["rows"],
        "columns": said["columns"],
        "probability": said["probability"]["value"] if "probability" in said else None,
        "outputs": [_output(one) for one in element["extension"] if one["url"] == "output"],
    }


def _output(element: dict[str, Any]) -> dict[str, Any]:
    said = _extensions(element)
    return {
        "name": said["name"],
        "coding": said["code"],
        "value": said["value"]["value"],
        "unit": said["value"]["code"],
        "threshold": said["threshold"]["value"] if "threshold" in said else None,
    }


def _not_analysed(root: Resource) -> dict[str, Any] | None:
    reason = not_analysed_reason(root)
    notes = root.get("note", ())
    return None if reason is None else {"reason": reason, "explanation": notes[0]["text"] if notes else ""}

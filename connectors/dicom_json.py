"""Reading the DICOM JSON model (PS3.18 annex F) of a peer that may answer anything."""

from __future__ import annotations

import json
from typing import Any

from connectors.archive_connection import Answer
from schemas.errors import InvalidResource

MEDIA_TYPE = "application/dicom+json"


def parsed(answer: Answer, step: str, reference: str) -> Any:
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):
        raise InvalidResource(step, reference, "the answer is broken JSON") from None


def objects(answer: Answer, step: str, reference: str) -> list[dict[str, Any]]:
    found = parsed(answer, step, reference)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InvalidResource(step, reference, "the answer is no list of DICOM JSON objects")
    return found


def values(instance: dict[str, Any], tag: str) -> list[Any]:
    element = instance.get(tag)
    found = element.get("Value") if isinstance(element, dict) else None
    return found if isinstance(found, list) else []


def first(instance: dict[str, Any], tag: str) -> Any:
    found = values(instance, tag)
    return found[0] if found else None


def text(instance: dict[str, Any], tag: str) -> str | None:
    """The first value without padding; None where absent or empty."""
    value = first(instance, tag)
    return (value.strip(" \0") or None) if isinstance(value, str) else None


def texts(instance: dict[str, Any], tag: str) -> tuple[str, ...]:
    """All values without padding; an empty one (PS3.18 F.2.5: null) is "" in its place."""
    return tuple(value.strip(" \0") if isinstance(value, str) else "" for value in values(instance, tag))


def items(instance: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return [item for item in values(instance, tag) if isinstance(item, dict)]

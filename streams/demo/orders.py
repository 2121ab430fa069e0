"""The order that a HIS would send for a study of the demo, of a test, of a benchmark."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from schemas.identifiers import AccessionNumber, PatientIdentifier, PlacerOrderNumber
from schemas.renderings.hl7orm import order_message


def order_for(
    accession: str | None, *, patient: str, assigner: str, at: datetime, control_id: str, placer: str | None = None, **more: Any
) -> bytes:
    """An ORM^O01 whose numbers are all assigned by `assigner`; its placer order number is `placer`, else PL-<accession>.
    `more`: see schemas.renderings.hl7orm.order_message."""
    return order_message(
        placer=PlacerOrderNumber(value=placer or f"PL-{accession}", assigner=assigner),
        accession=AccessionNumber(value=accession, assigner=assigner) if accession else None,
        patient=PatientIdentifier(value=patient, assigner=assigner),
        service=more.pop("service", "Chest PA"),
        at=at,
        control_id=control_id,
        **more,
    )

"""Findings of made-up studies, for benchmarks/findings.py."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from schemas.findings import (
    AnalysedImage,
    Finding,
    FindingKind,
    Findings,
    Measurement,
    ModelIdentity,
    OrderReference,
    Region,
    Subject,
)
from schemas.identifiers import (
    AccessionNumber,
    FillerOrderNumber,
    PatientIdentifier,
    PlacerOrderNumber,
    SOPInstanceUID,
    StudyInstanceUID,
)


def said_of_a_study() -> Findings:
    """A nodule and a mass, of a study that nobody has yet."""
    number = uuid4().int
    study, image = StudyInstanceUID(f"2.25.{number}"), SOPInstanceUID(f"2.25.{number + 1}")
    accession = AccessionNumber(value=f"B{number}", assigner="RIS")
    order = OrderReference(
        placer_order_number=PlacerOrderNumber(value=f"P{number}", assigner="HIS"),
        filler_order_number=FillerOrderNumber(value=f"F{number}", assigner="RIS"),
        accession_number=accession,
    )
    kinds = enumerate(FindingKind, start=1)
    region = Region(sop_instance_uid=image, left=811.25, top=402.5, width=88.125, height=91.75)
    return Findings(
        analysis_id=uuid4(),
        subject=Subject(
            study_instance_uid=study,
            revision=f"{number:064x}",
            sequence=4,
            accession_number=accession,
            patient=PatientIdentifier(value="BENCH", assigner="HOSPITAL"),
            orders=(order,),
            triggered_at=datetime.now(UTC),
        ),
        model=ModelIdentity(name="bench", version="1", weights_sha256="a" * 64),
        images=(AnalysedImage(sop_instance_uid=image, pixel_sha256="b" * 64, rows=2048, columns=2500, probability=0.75),),
        findings=tuple(
            Finding(ordinal=n, kind=kind, probability=0.73, region=region, long_axis=Measurement(value=31.5, plane="detector"))
            for n, kind in kinds
        ),
        threshold=0.5,
    )

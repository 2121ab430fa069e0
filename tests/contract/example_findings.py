"""Findings of every kind and state, for the tests of renderings and of report stores. Made up; nobody is meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.findings import (
    AnalysedImage,
    Finding,
    FindingKind,
    Findings,
    Measurement,
    ModelIdentity,
    NotAnalysed,
    NotAnalysedReason,
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
    identity,
)
from schemas.renderings.fhir.references import Site

SITE = Site("HOSPITAL", {"RIS": "urn:oid:1.2.826.0.1.3680043.10.511.1"})
STUDY = StudyInstanceUID("1.2.826.0.1.3680043.10.511.3.1")
IMAGE = SOPInstanceUID("1.2.826.0.1.3680043.10.511.3.1.1.1")
MODEL = ModelIdentity(name="chest-nodule", version="1", weights_sha256="a" * 64)
ACCESSION = AccessionNumber(value="A 7001|x", assigner="RIS")


def order(number: int, accession: AccessionNumber = ACCESSION) -> OrderReference:
    return OrderReference(
        placer_order_number=PlacerOrderNumber(value=f"P{number}", assigner="HIS"),
        filler_order_number=FillerOrderNumber(value=f"F{number}", assigner="RIS"),
        accession_number=accession,
    )


def subject(
    sequence: int = 1,
    *,
    study: StudyInstanceUID = STUDY,
    accession: AccessionNumber | None = ACCESSION,
    orders: tuple[OrderReference, ...] | None = None,
) -> Subject:
    return Subject(
        study_instance_uid=study,
        revision=f"{sequence:064x}",
        sequence=sequence,
        accession_number=accession,
        patient=PatientIdentifier(value="MRN-4711", assigner="HOSPITAL & Sons"),
        orders=(order(1, accession or ACCESSION),) if orders is None else orders,
        triggered_at=datetime(2026, 11, 24, 8, 30, 0, 123456, tzinfo=UTC) + timedelta(minutes=sequence),
    )


def finding(ordinal: int, kind: FindingKind = FindingKind.NODULE) -> Finding:
    return Finding(
        ordinal=ordinal,
        kind=kind,
        probability=0.7250000001 + ordinal / 100,
        region=Region(sop_instance_uid=IMAGE, left=0.0, top=120.25, width=88.1, height=1e-7),
        long_axis=Measurement(value=31.5, plane="detector") if kind is FindingKind.MASS else None,
    )


def findings(about: Subject | None = None, *found: Finding, **changed: Any) -> Findings:
    """What was found, or "absent" when `found` is empty."""
    about = about or subject()
    values: dict[str, Any] = {
        "analysis_id": identity("test-analysis", about.study_instance_uid, str(about.sequence)),
        "subject": about,
        "model": MODEL,
        "images": (AnalysedImage(sop_instance_uid=IMAGE, pixel_sha256="b" * 64, rows=2048, columns=2500, probability=0.75),),
        "findings": found,
        "threshold": 0.5,
    }
    return Findings(**(values | changed))


def two_findings(about: Subject | None = None) -> Findings:
    return findings(about, finding(1), finding(2, FindingKind.MASS))


def not_analysed(reason: NotAnalysedReason, about: Subject | None = None, model: ModelIdentity | None = None) -> Findings:
    said = NotAnalysed(reason=reason, explanation="the words of the step")
    return findings(about, model=model, images=(), threshold=None, not_analysed=said)


def every_state() -> dict[str, Findings]:
    """By name: each state, and each shape of order and subject."""
    return {
        "present": two_findings(),
        "absent": findings(),
        "no-order": two_findings(subject(orders=())),
        "no-accession-number": findings(subject(accession=None, orders=())),
        "no-patient": findings(subject().model_copy(update={"patient": None})),
        "two-orders": two_findings(subject(orders=(order(1), order(2)))),
        "placer-number-alone": findings(
            subject(
                accession=None,
                orders=(OrderReference(placer_order_number=PlacerOrderNumber(value="P9", assigner="1.2.840.99")),),
            )
        ),
        "not-analysed-by-model": not_analysed(NotAnalysedReason.WRONG_BODY_PART, model=MODEL),
        **{f"not-analysed-{reason.value}": not_analysed(reason) for reason in NotAnalysedReason},
    }

"""Findings of every kind and state, for the tests of renderings and of report stores. Made up; nobody is meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.findings import (
    CHEST_RADIOGRAPH_FINDINGS,
    AnalysedImage,
    Finding,
    FindingKind,
    Findings,
    Measurement,
    MessageReference,
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
from schemas.outputs import Coding, Output
from schemas.renderings.fhir.codes import SNOMED_CT
from schemas.renderings.fhir.references import Site

SITE = Site("HOSPITAL", {"RIS": "urn:oid:1.2.826.0.1.3680043.10.511.1"})
STUDY = StudyInstanceUID("1.2.826.0.1.3680043.10.511.3.1")
IMAGE = SOPInstanceUID("1.2.826.0.1.3680043.10.511.3.1.1.1")
MODEL = ModelIdentity(name="chest-nodule", version="1", weights_sha256="a" * 64)
#: a service beside the one that every study has, and a second image
DEVICES = "chest-radiograph-devices"
IMAGE_2 = SOPInstanceUID("1.2.826.0.1.3680043.10.511.3.1.1.2")
ACCESSION = AccessionNumber(value="A 7001|x", assigner="RIS")
#: when a radiologist had verified the report of the study, before the AI answered
VERIFIED_AT = datetime(2026, 11, 24, 8, 15, 30, tzinfo=UTC)


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
        messages=(MessageReference(sender="HIS|TAICHUNG", message_control_id="MSG00001"),),
        triggered_at=datetime(2026, 11, 24, 8, 30, 0, 123456, tzinfo=UTC) + timedelta(minutes=sequence),
    )


def finding(ordinal: int, kind: FindingKind = FindingKind.NODULE, *, uid: SOPInstanceUID = IMAGE, frame: int = 1) -> Finding:
    return Finding(
        ordinal=ordinal,
        kind=kind,
        probability=0.7250000001 + ordinal / 100,
        region=Region(sop_instance_uid=uid, frame=frame, left=0.0, top=120.25, width=88.1, height=1e-7),
        long_axis=Measurement(value=31.5, plane="detector") if kind is FindingKind.MASS else None,
    )


def findings(about: Subject | None = None, *found: Finding, **changed: Any) -> Findings:
    """What was found, or "absent" when `found` is empty."""
    about = about or subject()
    values: dict[str, Any] = {
        "analysis_id": identity("test-analysis", about.study_instance_uid, str(about.sequence)),
        "subject": about,
        "model": MODEL,
        "images": (image(probability=0.75 if found else 0.25),),
        "findings": found,
        "threshold": 0.5,
    }
    return Findings(**(values | changed))


def two_findings(about: Subject | None = None) -> Findings:
    return findings(about, finding(1), finding(2, FindingKind.MASS))


#: tubes and devices of the chest, as SNOMED CT physical objects
DEVICE_CODES = {
    "central-venous-catheter": Coding(system=SNOMED_CT, code="52124006", display="Central venous catheter"),
    "endotracheal-tube": Coding(system=SNOMED_CT, code="26412008", display="Endotracheal tube"),
    "nasogastric-tube": Coding(system=SNOMED_CT, code="17102003", display="Nasogastric tube"),
    "pacemaker": Coding(system=SNOMED_CT, code="14106009", display="Cardiac pacemaker"),
}


def devices(*values: float) -> tuple[Output, ...]:
    """All four; those from 0.5 on are present."""
    named = zip(DEVICE_CODES.items(), values, strict=True)
    return tuple(Output(name=name, coding=coding, value=value, threshold=0.5) for (name, coding), value in named)


def measure() -> Output:
    """A size, of which nobody says from when on it is present."""
    coding = Coding(system="urn:example:codes", code="tip-to-carina", display="Tip of the endotracheal tube to carina")
    return Output(name="tip-to-carina", coding=coding, value=43.5, unit="mm")


def image(*outputs: Output, uid: SOPInstanceUID = IMAGE, probability: float | None = None) -> AnalysedImage:
    return AnalysedImage(
        sop_instance_uid=uid, pixel_sha256="b" * 64, rows=2048, columns=2500, probability=probability, outputs=outputs
    )


def devices_alone(about: Subject | None = None, **changed: Any) -> Findings:
    """What a model says that looks for nothing with a place, in a report of its own: on two images."""
    images = (image(*devices(0.02, 0.93, 0.4, 0.1)), image(*devices(0.3, 0.91, 0.01, 0.88), uid=IMAGE_2))
    about = about or subject()
    values = {
        "analysis_id": identity("test-analysis", about.study_instance_uid, str(about.sequence), DEVICES),
        "images": images,
        "threshold": None,
        "service": DEVICES,
    }
    return findings(about, **(values | changed))


def not_analysed(
    reason: NotAnalysedReason, about: Subject | None = None, model: ModelIdentity | None = None, **changed: Any
) -> Findings:
    said = NotAnalysed(reason=reason, explanation="the words of the step")
    return findings(about, model=model, images=(), threshold=None, not_analysed=said, **changed)


def indeterminate(about: Subject | None = None) -> Findings:
    """The score of the study reaches the model's operating point, but no place does."""
    return findings(about, images=(image(probability=0.75),))


def after_verification(of: Findings) -> Findings:
    """The same, said after a radiologist had verified the report."""
    return Findings(**(dict(of) | {"verified_at": VERIFIED_AT}))


def two_images(about: Subject | None = None) -> Findings:
    """Findings on both, the second one on a frame that is not the first."""
    seen = (
        image(*devices(0.02, 0.93, 0.4, 0.1), probability=0.75),
        image(*devices(0.3, 0.9, 0.1, 0.88), uid=IMAGE_2, probability=0.6),
    )
    return findings(about, finding(1), finding(2, FindingKind.MASS, uid=IMAGE_2, frame=2), images=seen)


def every_state() -> dict[str, Findings]:
    """By name: each state, and each shape of order and subject."""
    return {
        "present": two_findings(),
        "absent": findings(),
        "indeterminate": indeterminate(),
        "mass-alone": findings(None, finding(1, FindingKind.MASS)),
        "two-images": two_images(),
        "many-findings": findings(None, *(finding(n, kind) for n, kind in enumerate([*FindingKind] * 6, start=1))),
        "after-verification": after_verification(two_findings()),
        "absent-after-verification": after_verification(findings()),
        "indeterminate-after-verification": after_verification(indeterminate()),
        "devices-after-verification": after_verification(devices_alone()),
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
        "devices-and-nodule": findings(None, finding(1), images=(image(*devices(0.02, 0.93, 0.4, 0.88), probability=0.75),)),
        "devices-and-no-nodule": findings(None, images=(image(*devices(0.02, 0.93, 0.4, 0.88), probability=0.25),)),
        "devices-alone": devices_alone(),
        "measure-alone": devices_alone(images=(image(measure()),)),
        "measure-and-nodule": findings(None, finding(1), images=(image(measure(), probability=0.75),)),
        "outputs-of-the-usual-service": devices_alone(service=CHEST_RADIOGRAPH_FINDINGS),
        "not-analysed-by-another-service": not_analysed(NotAnalysedReason.WRONG_VIEW, service=DEVICES),
        "not-analysed-by-model": not_analysed(NotAnalysedReason.WRONG_BODY_PART, model=MODEL),
        **{f"not-analysed-{reason.value}": not_analysed(reason) for reason in NotAnalysedReason},
    }

"""Findings as a Comprehensive 3D SR (IHE AI Results), template TID 1500 "Measurement Report"."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo

from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    MeasurementReport,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import Dataset

from schemas.findings import AnalysedImage, Findings, ModelIdentity
from schemas.identifiers import SOPInstanceUID
from schemas.renderings.dicom import codes, sentences
from schemas.renderings.dicom.document import Document, document_of, uid
from schemas.renderings.dicom.evidence import Evidence
from schemas.renderings.dicom.instance import MANUFACTURER, header, part10, referenced, series
from schemas.renderings.dicom.measurement_groups import groups_of
from schemas.renderings.labels import Language
from schemas.study_events import ImageReference


def structured_report(
    findings: Findings,
    evidence: Evidence,
    *,
    predecessors: Sequence[Document] = (),
    zone: tzinfo = UTC,
    language: Language = "en",
) -> bytes:
    """The document that `document_of` names, as PS3.10 in Explicit VR Little Endian; the same arguments give the same bytes.
    `predecessors`: documents of ours that it takes the place of. `zone`: of the times of the document, unless the archive states
    one of the study, (0008,0201). `language`: of its sentences.

    Numbers are exact (Floating Point Value, (0040,A161)); regions are float32, see `measurement_groups.outline`. Raises ValueError
    when not analysed, when the archive told nothing of an analysed image, and when that is of a retired or private SOP class."""
    document = document_of(findings)
    images = {image.sop_instance_uid: evidence.of(image) for image in findings.images}
    try:
        report = Comprehensive3DSR(
            # what Current Requested Procedure Evidence Sequence (0040,A375) names
            evidence=[referenced(findings, image) for image in images.values()],
            content=_content(findings, images, language),
            # nobody verified it, and the radiologist's report is to come: "complete", for the AI will add nothing
            is_complete=True,
            is_final=False,
            is_verified=False,
            previous_versions=[referenced(findings, before) for before in predecessors] or None,
            coding_schemes=codes.coding_schemes(tuple(output.coding for output in findings.outputs)),
            **series("SR", "AI, not verified", document, findings),
        )
    except KeyError:  # highdicom looks up the IOD of each image
        raise ValueError("an analysed image is of a SOP class that is retired or private") from None
    return part10(report, header(evidence), findings, zone)


def _content(findings: Findings, images: dict[SOPInstanceUID, ImageReference], language: Language) -> Dataset:
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer(findings.model)),
        procedure_reported=codes.IMAGING_PROCEDURE,
        imaging_measurements=groups_of(findings, images.__getitem__),
        title=codes.IMAGING_MEASUREMENT_REPORT,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(
            CodedConcept.from_code(codes.LANGUAGES[language])
        ),
    )[0]
    report.ContentSequence.insert(-1, _library(findings.images, images))  # TID 1500: before the measurements
    for sentence in sentences.of_report(findings, language):
        # TID 1500 is extensible; before all else that is contained, so that readers show it first
        report.ContentSequence.insert(-2, TextContentItem(codes.COMMENT, sentence, RelationshipTypeValues.CONTAINS))
    return report


def observer(model: ModelIdentity | None) -> ObserverContext:
    """A device, never a person (TID 1004): of a model, or of the engine itself."""
    names = ("engine",) if model is None else (model.name, model.version, model.weights_sha256)
    attributes = DeviceObserverIdentifyingAttributes(
        uid=uid("observer", *names),
        name="radstream" if model is None else f"AI model {model.name} {model.version}",
        manufacturer_name=MANUFACTURER,
        model_name=None if model is None else model.name,
    )
    return ObserverContext(CodedConcept.from_code(codes.DEVICE), attributes)


def _library(analysed: Sequence[AnalysedImage], images: dict[SOPInstanceUID, ImageReference]) -> ContainerContentItem:
    """TID 1600: every image that the model saw, also those on which it found nothing."""
    group = ContainerContentItem(codes.IMAGE_LIBRARY_GROUP, relationship_type=RelationshipTypeValues.CONTAINS)
    group.ContentSequence = ContentSequence([_entry(image, images[image.sop_instance_uid]) for image in analysed])
    library = ContainerContentItem(codes.IMAGE_LIBRARY, relationship_type=RelationshipTypeValues.CONTAINS)
    library.ContentSequence = ContentSequence([group])
    return library


def _entry(image: AnalysedImage, held: ImageReference) -> ImageContentItem:
    """TID 1601, and of TID 1602 what the model was given."""
    entry = ImageContentItem(
        codes.SOURCE, held.sop_class_uid, held.sop_instance_uid, relationship_type=RelationshipTypeValues.CONTAINS
    )
    sizes = ((codes.PIXEL_DATA_ROWS, image.rows), (codes.PIXEL_DATA_COLUMNS, image.columns))
    pixels = codes.unit("{pixels}")
    entry.ContentSequence = ContentSequence(
        [NumContentItem(name, size, pixels, relationship_type=RelationshipTypeValues.HAS_ACQ_CONTEXT) for name, size in sizes]
    )
    return entry

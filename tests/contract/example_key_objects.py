"""Key object selections, made in the test: some of them rejection notes (IHE RAD, Imaging Object Change Management)."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from tests.contract.example_images import structured_report

#: titles of PS3.16 CID 7010
OF_INTEREST = "113000"
REJECTED_FOR_QUALITY = "113001"
REJECTED_FOR_SAFETY = "113037"
WRONG_WORKLIST_ENTRY = "113038"
RETENTION_EXPIRED = "113039"
_MEANINGS = {
    OF_INTEREST: "Of Interest",
    REJECTED_FOR_QUALITY: "Rejected for Quality Reasons",
    REJECTED_FOR_SAFETY: "Rejected for Patient Safety Reasons",
    WRONG_WORKLIST_ENTRY: "Incorrect Modality Worklist Entry",
    RETENTION_EXPIRED: "Data Retention Policy Expired",
}


def key_object(title: str, named: Iterable[Dataset], *, study: str) -> Dataset:
    """A document of that title in `study` (TID 2010) that names these instances, of whatever study they are."""
    named = list(named)
    made = structured_report(study)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = KeyObjectSelectionDocumentStorage
    del made.CompletionFlag, made.VerificationFlag
    made.Modality, made.Manufacturer = "KO", ""
    made.ContentDate, made.ContentTime = "20260101", "130000"
    made.ReferencedPerformedProcedureStepSequence = []
    made.ConceptNameCodeSequence = [_code(title)]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    made.ContentTemplateSequence = [template]
    made.ContentSequence = [_item(instance) for instance in named]
    made.CurrentRequestedProcedureEvidenceSequence = [_evidence(instance) for instance in named]
    return made


def _code(title: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = title, "DCM", _MEANINGS[title]
    return code


def _reference(instance: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = instance.SOPClassUID, instance.SOPInstanceUID
    return reference


def _item(instance: Dataset) -> Dataset:
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE" if "PixelData" in instance else "COMPOSITE"
    item.ReferencedSOPSequence = [_reference(instance)]
    return item


def _evidence(instance: Dataset) -> Dataset:
    """Hierarchical SOP Instance Reference Macro, PS3.3 table C.17-3."""
    series = Dataset()
    series.SeriesInstanceUID = instance.SeriesInstanceUID
    series.ReferencedSOPSequence = [_reference(instance)]
    evidence = Dataset()
    evidence.StudyInstanceUID = instance.StudyInstanceUID
    evidence.ReferencedSeriesSequence = [series]
    return evidence

"""A structured report as it is read by everybody: the bytes that are written, through pydicom."""

from __future__ import annotations

from io import BytesIO

from pydicom import Dataset, dcmread

from schemas.findings import Findings
from schemas.renderings.dicom.evidence import Evidence
from schemas.renderings.dicom.structured_report import structured_report
from tests.contract.example_evidence import evidence_of
from tests.contract.example_findings import two_findings


def dataset_of(said: Findings | None = None, held: Evidence | None = None) -> Dataset:
    """Of two findings, unless others are given."""
    said = said or two_findings()
    return dcmread(BytesIO(structured_report(said, held or evidence_of(said))))

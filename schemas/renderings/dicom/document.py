"""Which instance of which series a document of ours is."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from pydicom.uid import Comprehensive3DSRStorage

from schemas.findings import Findings
from schemas.identifiers import StudyInstanceUID, identity


@dataclass(frozen=True, slots=True)
class Document:
    """One of ours, as others must reference it; its study is that of the findings."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


def document_of(findings: Findings) -> Document:
    """The structured report of what was analysed. A DICOM object is immutable (rule 10): whatever is different in the findings,
    their sequence too, makes another SOP Instance UID, and only the same findings have the same one. One series per study and
    service. Raises ValueError when not analysed."""
    if findings.not_analysed is not None:
        raise ValueError("not analysed: there is no structured report of it")
    subject = findings.subject
    # defaults left out: a field that is added later must not rename what was stored before
    content = sha256(findings.model_dump_json(exclude_defaults=True).encode()).hexdigest()
    names = (subject.study_instance_uid, findings.service, str(findings.analysis_id), str(subject.sequence), content)
    series = series_of("sr", subject.study_instance_uid, findings.service)
    return Document(Comprehensive3DSRStorage, uid("sr", *names), series)


def series_of(kind: str, study: StudyInstanceUID, service: str) -> str:
    """Documents of two kinds (Modality SR, KO) cannot share a series."""
    return uid("series", kind, study, service)


def uid(kind: str, *names: str) -> str:
    """A UID of our own, always the same of the same names (PS3.5 B.2: UUID derived)."""
    return f"2.25.{identity(f'dicom-{kind}', *names).int}"

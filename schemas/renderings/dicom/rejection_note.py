"""The note that takes documents of ours out of use (IHE RAD, Imaging Object Change Management): a Key Object Selection Document,
template TID 2010, whose title says why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.uid import KeyObjectSelectionDocumentStorage

from schemas.findings import Findings, NotAnalysed
from schemas.renderings.dicom import codes
from schemas.renderings.dicom.document import Document, series_of, uid
from schemas.renderings.dicom.evidence import Evidence
from schemas.renderings.dicom.instance import header, part10, referenced, series
from schemas.renderings.dicom.sentences import of_note
from schemas.renderings.dicom.structured_report import observer
from schemas.renderings.labels import Language


def note_of(findings: Findings, rejected: Sequence[Document]) -> Document:
    """The note that `rejection_note` writes: of this state about these documents always the same, in whatever order they are named.
    One series per study and service. Raises ValueError as `rejection_note`."""
    _why(findings, rejected)
    subject = findings.subject
    named = sorted({document.sop_instance_uid for document in rejected})
    names = (subject.study_instance_uid, findings.service, str(findings.analysis_id), str(subject.sequence), *named)
    series = series_of("ko", subject.study_instance_uid, findings.service)
    return Document(KeyObjectSelectionDocumentStorage, uid("ko", *names), series)


def rejection_note(
    findings: Findings,
    evidence: Evidence,
    rejected: Sequence[Document],
    *,
    zone: tzinfo = UTC,
    language: Language = "en",
) -> bytes:
    """As PS3.10 in Explicit VR Little Endian; the same arguments give the same bytes. `findings`: why the study is not analysed, or
    not any more. Of `evidence` its header alone: the images may be gone. `zone` and `language` as of `structured_report`.

    Raises ValueError when the study is analysed (a newer document names its predecessors), and when nothing is rejected."""
    why = _why(findings, rejected)
    note = note_of(findings, rejected)
    documents = [referenced(findings, document) for document in sorted(set(rejected), key=lambda one: one.sop_instance_uid)]
    content = KeyObjectSelection(
        document_title=codes.rejection_title(why.reason),
        referenced_objects=documents,
        observer_device_context=observer(None),
        description=" ".join(of_note(why, language)),
    )
    document = KeyObjectSelectionDocument(
        evidence=documents,
        content=content,
        coding_schemes=None,
        **series("KO", "AI, withdrawn", note, findings),
    )
    return part10(document, header(evidence), findings, zone)


def _why(findings: Findings, rejected: Sequence[Document]) -> NotAnalysed:
    if findings.not_analysed is None:
        raise ValueError("analysed: nothing is withdrawn")
    if not rejected:
        raise ValueError("a rejection note that rejects nothing")
    return findings.not_analysed

"""The note that takes our documents out of use, read with pydicom alone and by our own reader of rejection notes."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import Dataset, dcmread

from connectors.rejection_notes import rejected_by
from schemas.findings import DEMONSTRATION, Findings, NotAnalysedReason
from schemas.renderings import labels
from schemas.renderings.dicom.document import Document, document_of
from schemas.renderings.dicom.evidence import Evidence
from schemas.renderings.dicom.rejection_note import note_of, rejection_note
from tests.contract.example_evidence import header
from tests.contract.example_findings import DEVICES, findings, not_analysed, subject, two_findings

_HELD = Evidence(header(), ())  # the images may be gone
_DOCUMENTS = (document_of(two_findings()), document_of(findings(subject(2))))


def _withdrawn(reason: NotAnalysedReason = NotAnalysedReason.MODEL_RECALLED, sequence: int = 4) -> Findings:
    return not_analysed(reason, subject(sequence))


def _written(said: Findings, documents: tuple[Document, ...] = _DOCUMENTS) -> Dataset:
    return dcmread(BytesIO(rejection_note(said, _HELD, documents)))


def _words(written: Dataset) -> str:
    contained = [item for item in written.ContentSequence if item.RelationshipType == "CONTAINS"]
    (words,) = [item.TextValue for item in contained if item.ValueType == "TEXT"]
    return str(words)


@pytest.mark.parametrize("reason", NotAnalysedReason)
def test_it_names_every_document_and_why(reason: NotAnalysedReason) -> None:
    written = _written(_withdrawn(reason))
    assert written.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.59" and written.Modality == "KO"
    assert written.ContentTemplateSequence[0].TemplateIdentifier == "2010"
    named = [item for item in written.ContentSequence if item.ValueType == "COMPOSITE"]
    assert {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in named} == {
        document.sop_instance_uid for document in _DOCUMENTS
    }
    words = _words(written)
    assert words.startswith("Withdrawn: what the AI said before does not hold. ") and words.endswith(DEMONSTRATION)
    assert labels.not_analysed(reason, "en") in words


@pytest.mark.parametrize(
    ("reason", "title"),
    [
        (NotAnalysedReason.IDENTITY_MISMATCH, "113038"),
        (NotAnalysedReason.MODEL_RECALLED, "113037"),
        (NotAnalysedReason.NO_IMAGE, "113037"),
        (NotAnalysedReason.ORDER_CANCELLED, "113037"),
        (NotAnalysedReason.WRONG_VIEW, "113001"),
    ],
)
def test_readers_of_rejection_notes_take_it_for_one(reason: NotAnalysedReason, title: str) -> None:
    said = _withdrawn(reason)
    written = _written(said)
    assert written.ConceptNameCodeSequence[0].CodeValue == title
    uids = {document.sop_instance_uid for document in _DOCUMENTS}
    assert rejected_by(written.to_json_dict(), said.subject.study_instance_uid) == uids


def test_it_is_the_document_that_is_announced() -> None:
    note, written = note_of(_withdrawn(), _DOCUMENTS), _written(_withdrawn())
    assert (written.SOPInstanceUID, written.SeriesInstanceUID) == (note.sop_instance_uid, note.series_instance_uid)
    assert written.file_meta.MediaStorageSOPInstanceUID == note.sop_instance_uid
    assert note.series_instance_uid not in {document.series_instance_uid for document in _DOCUMENTS}  # of Modality SR


def test_the_same_withdrawal_is_the_same_bytes_in_whatever_order() -> None:
    once = rejection_note(_withdrawn(), _HELD, _DOCUMENTS)
    assert once == rejection_note(_withdrawn(), _HELD, (*_DOCUMENTS[::-1], _DOCUMENTS[0]))


@pytest.mark.parametrize(
    ("said", "documents"),
    [
        (_withdrawn(sequence=8), _DOCUMENTS),
        (_withdrawn(), _DOCUMENTS[:1]),
        (not_analysed(NotAnalysedReason.MODEL_RECALLED, subject(4), service=DEVICES), _DOCUMENTS),
    ],
    ids=["another state", "other documents", "another service"],
)
def test_another_withdrawal_is_another_note(said: Findings, documents: tuple[Document, ...]) -> None:
    assert note_of(said, documents).sop_instance_uid != note_of(_withdrawn(), _DOCUMENTS).sop_instance_uid


def test_it_says_whose_it_is() -> None:
    written = _written(_withdrawn())
    for element in header():
        assert str(written[element.tag].value) == str(element.value)
    assert written.SeriesDescription == "AI, withdrawn: chest-radiograph-findings"
    moment = _withdrawn().subject.triggered_at
    assert written.ContentDate + written.ContentTime == moment.strftime("%Y%m%d%H%M%S.%f")


def test_it_speaks_chinese_too() -> None:
    written = dcmread(BytesIO(rejection_note(_withdrawn(), _HELD, _DOCUMENTS, language="zh-TW")))
    assert _words(written).split() == [
        *("已撤銷：AI", "先前的結果不再有效。"),
        *("AI", "未分析：曾分析此檢查的", "AI", "模型已被召回。"),
        "展示用模型，非醫療器材；未經放射科醫師確認。",
    ]


def test_nothing_is_withdrawn_of_what_stands() -> None:
    with pytest.raises(ValueError, match="analysed"):
        rejection_note(two_findings(), _HELD, _DOCUMENTS)
    with pytest.raises(ValueError, match="rejects nothing"):
        rejection_note(_withdrawn(), _HELD, ())

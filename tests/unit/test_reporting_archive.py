"""What an archive may say of a study, while it is told findings."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pydicom
import pytest
from pydicom import Dataset

from connectors.reporting.archive import ArchiveReceiver
from schemas.errors import InvalidResource, StudyIncomplete
from schemas.findings import Findings, NotAnalysedReason
from schemas.ports import Acknowledgement
from schemas.renderings.labels import Language, disclaimer
from tests.contract.reporting_system import Study
from tests.unit.http_peer import Handler, http_peer

SECRET = "Secret^Name"
IMAGE_CLASS = "1.2.840.10008.5.1.4.1.1.1"


class Archive:
    """Holds the image of `study` with this header (DICOM JSON), and keeps what it is given."""

    def __init__(self, study: Study, **header: Any) -> None:
        self.study = study
        self.stored: list[Dataset] = []
        uids = {"00080016": IMAGE_CLASS, "00080018": study.image, "0020000D": study.uid, "0020000E": "2.25.7"}
        self.header: dict[str, Any] = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()} | header
        self.listed: list[dict[str, Any]] = [self.header]

    def __call__(self, handler: Handler) -> None:
        if handler.command == "POST":
            body = handler.rfile.read(int(handler.headers["Content-Length"]))
            part10 = body[body.index(b"\r\n\r\n") + 4 : body.rindex(b"\r\n--")]
            self.stored.append(pydicom.dcmread(io.BytesIO(part10)))
            answer: Any = {"00081199": {"vr": "SQ", "Value": [{}]}}
        elif handler.path.endswith("/metadata"):
            answer = [one for one in self.listed if f"/instances/{one['00080018']['Value'][0]}/" in handler.path]
        else:
            answer = self.listed
        handler.answer(200, "application/dicom+json", json.dumps(answer).encode())


async def tell(
    reply: Callable[[Handler], None],
    findings: Findings,
    held: Findings | None = None,
    language: Language = "en",
    zone: tzinfo = UTC,
) -> Acknowledgement:
    with http_peer(reply) as url:
        receiver = ArchiveReceiver(url, timeout_s=20, size_limit=1 << 20, language=language, zone=zone)
        try:
            return await receiver.tell(findings, held)
        finally:
            await receiver.close()


def value(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def listed(archive: Archive, document: Dataset) -> dict[str, Any]:
    """As QIDO-RS tells it."""
    uids = {"00080016": document.SOPClassUID, "00080018": document.SOPInstanceUID, "0020000E": document.SeriesInstanceUID}
    number = {"00200013": value("IS", document.InstanceNumber)}
    return archive.header | {tag: value("UI", str(uid)) for tag, uid in uids.items()} | number


async def test_a_header_that_breaks_the_standard_is_left_out_and_not_printed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    archive = Archive(
        study := Study(),
        **{
            "00100010": value("PN", {"Alphabetic": SECRET, "Ideographic": "王^小東"}),
            "00100020": value("LO", "4711 "),
            "00100030": value("DA", f"1970-01-01 {SECRET}"),
            "00100040": value("CS", SECRET),
            "00080050": value("SH", "more than sixteen characters"),
            "00200010": value("SH", 12),
            "00080020": {"vr": "DA", "BulkDataURI": "http://elsewhere/"},
        },
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom's would print the value
        await tell(archive, study.found(4))
    (report,) = archive.stored
    assert (str(report.PatientName), report.PatientID) == (f"{SECRET}=王^小東", "4711")
    assert {report[keyword].value for keyword in ("PatientBirthDate", "PatientSex", "StudyID", "StudyDate")} == {""}
    assert "Secret" not in caplog.text


async def test_it_is_said_in_the_language_of_the_site() -> None:
    archive = Archive(study := Study())
    await tell(archive, study.found(4), language="zh-TW")
    (report,) = archive.stored
    assert disclaimer("zh-TW") in [item.get("TextValue") for item in report.ContentSequence]


async def test_a_note_too_is_in_the_language_and_the_times_of_the_site() -> None:
    archive, taipei = Archive(study := Study()), ZoneInfo("Asia/Taipei")
    found, withdrawal = study.found(4), study.not_analysed(8, NotAnalysedReason.ORDER_CANCELLED)
    await tell(archive, found, zone=taipei)
    (report,) = archive.stored
    archive.listed.append(listed(archive, report))
    await tell(archive, withdrawal, found, language="zh-TW", zone=taipei)
    note = archive.stored[-1]
    assert any(disclaimer("zh-TW") in item.get("TextValue", "") for item in note.ContentSequence)
    for document, said in ((report, found), (note, withdrawal)):
        local = said.subject.triggered_at.astimezone(taipei)
        assert document.ContentDate + document.ContentTime == local.strftime("%Y%m%d%H%M%S.%f")


@pytest.mark.parametrize("status", [204, 404])
async def test_a_study_that_is_not_there(status: int) -> None:
    """Both are said for it."""

    def nothing(handler: Handler) -> None:
        if handler.path.startswith("/studies?"):
            handler.answer(200, "application/dicom+json", b"[]")
        else:
            handler.answer(404 if handler.path.endswith("/metadata") else status, "application/dicom+json", b"")

    study = Study()
    with pytest.raises(StudyIncomplete):
        await tell(nothing, study.found(4))
    answer = await tell(nothing, study.not_analysed(8, NotAnalysedReason.NO_IMAGE), study.found(4))
    assert "no report" in answer.reference


async def test_all_analysed_images_must_be_there() -> None:
    """Findings of the others would read as if they had been all."""
    archive = Archive(study := Study())
    other = study.found(4).images[0].model_copy(update={"sop_instance_uid": Study().image})
    with pytest.raises(StudyIncomplete, match="1 of the 2"):
        await tell(archive, study.found(4, images=(study.found(4).images[0], other)))
    assert archive.stored == []


@pytest.mark.parametrize("number", [value("IS", "12"), value("IS", 12)])
async def test_the_last_state_there_is_known_by_its_number(number: dict[str, Any]) -> None:
    """PS3.18 F.2.3: IS is a number, or a string of digits."""
    archive = Archive(study := Study())
    await tell(archive, study.found(12))
    (report,) = archive.stored
    archive.listed.append(listed(archive, report) | {"00200013": number})
    assert (await tell(archive, study.absent(8))).superseded
    late = await tell(archive, study.not_analysed(8, NotAnalysedReason.LATE))
    assert late.superseded
    assert "no report" not in late.reference  # one stands there
    assert len(archive.stored) == 1


async def test_a_document_in_our_series_that_breaks_the_standard() -> None:
    archive = Archive(study := Study())
    await tell(archive, study.found(4))
    (report,) = archive.stored
    broken = {"0020000E": value("UI", str(report.SeriesInstanceUID)), "00200013": value("IS", "many")}
    archive.listed.append(archive.header | {"00080018": value("UI", "2.25.99")} | broken)
    with pytest.raises(InvalidResource):
        await tell(archive, study.absent(8))

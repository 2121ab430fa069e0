"""What the DICOMweb client makes of archives that misbehave: a named error, in time, and the next call works."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest
from pydicom.dataset import Dataset

from connectors.dicomweb import DicomWebArchive
from schemas.errors import (
    AccessRefused,
    ArchiveUnavailable,
    InvalidResource,
    ItemNotServed,
    RadstreamError,
    ResourceRefused,
    StudyIncomplete,
)
from schemas.events import ImageReference
from schemas.identifiers import PatientIdentifier, SeriesInstanceUID
from streams.settings import Settings
from streams.wiring.clients import archive_for
from tests.contract.example_images import part10, radiograph, study_of, uid_of
from tests.unit.http_peer import Handler, http_peer

IMAGE = radiograph(PatientName="Secret^Name", PatientID="SECRET-ID")
STUDY = study_of(IMAGE)
REFERENCE = ImageReference(
    series_instance_uid=SeriesInstanceUID(IMAGE.SeriesInstanceUID),
    sop_instance_uid=uid_of(IMAGE),
    sop_class_uid=str(IMAGE.SOPClassUID),
)
TIMEOUT_S = 0.6
SIZE_LIMIT = 100_000


@asynccontextmanager
async def _archive(url: str, *, pool_size: int = 2, token: str | None = None) -> AsyncIterator[DicomWebArchive]:
    archive = DicomWebArchive(
        url,
        timeout_s=TIMEOUT_S,
        size_limit=SIZE_LIMIT,
        pool_size=pool_size,
        token=token,
        default_accession_assigner="SITE",
        default_patient_assigner="SITE",
    )
    yield archive
    archive.close()


def _multipart(*instances: bytes) -> tuple[str, bytes]:
    body = b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + instance + b"\r\n" for instance in instances)
    return 'multipart/related; type="application/dicom"; boundary=b', body + b"--b--\r\n"


def _good(handler: Handler) -> None:
    """An archive that holds IMAGE."""
    if "/instances/" in handler.path and not handler.path.endswith("/metadata"):
        handler.answer(200, *_multipart(part10(IMAGE)))
    else:
        handler.answer(200, "application/dicom+json", _dicom_json(IMAGE))


def _dicom_json(*headers: Dataset) -> bytes:
    found = []
    for header in headers:
        values: dict[str, Any] = header.to_json_dict()
        values.pop("7FE00010", None)
        found.append(values)
    return json.dumps(found).encode()


async def test_a_good_answer_is_described_and_fetched() -> None:
    with http_peer(_good) as url:
        async with _archive(url) as archive:
            described = await archive.describe(STUDY)
            assert [image.sop_instance_uid for image in described.images] == [uid_of(IMAGE)]
            assert await archive.instance(STUDY, REFERENCE) == part10(IMAGE)


@pytest.mark.parametrize(("archives", "owner"), [(None, "HOSPITAL"), ("OLD-PACS", "OLD-PACS")])
async def test_patient_ids_without_issuer_are_the_archives(archives: str | None, owner: str) -> None:
    """Rule 8: DICOM often keeps the old number. The setting goes through the wiring."""
    with http_peer(_good) as url:
        sections = {
            "archive": {"dicomweb_url": url, "default_patient_assigner": archives},
            "site": {"default_assigner": "HOSPITAL"},
        }
        with closing(archive_for(Settings.model_validate(sections))) as archive:
            described = await archive.describe(STUDY)
    assert described.patient == PatientIdentifier(value="SECRET-ID", assigner=owner)


def _status(status: int) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(status, "text/html", b"<html>Secret^Name</html>", Location="/login")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, AccessRefused),
        (400, ResourceRefused),
        (401, AccessRefused),
        (403, AccessRefused),
        (404, StudyIncomplete),
        (406, ResourceRefused),
        (408, ArchiveUnavailable),
        (410, StudyIncomplete),
        (429, ArchiveUnavailable),
        (500, ArchiveUnavailable),
        (503, ArchiveUnavailable),
    ],
)
async def test_a_status_is_a_named_error(status: int, error: type[RadstreamError]) -> None:
    with http_peer(_status(status)) as url:
        async with _archive(url) as archive:
            with pytest.raises(error):
                await archive.describe(STUDY)
            with pytest.raises(error) as caught:
                await archive.instance(STUDY, REFERENCE)
            assert "Secret" not in str(caught.value)
            if status != 404:
                with pytest.raises(error):
                    await archive.store([part10(IMAGE)])


def _fails_on_the_study(status: int, otherwise: Callable[[Handler], None]) -> Callable[[Handler], None]:
    return lambda handler: _status(status)(handler) if STUDY in handler.path else otherwise(handler)


async def test_500_from_an_archive_that_is_well_is_about_the_item() -> None:
    with http_peer(_fails_on_the_study(500, _good)) as url:
        async with _archive(url) as archive:
            with pytest.raises(ItemNotServed):
                await archive.describe(STUDY)
            with pytest.raises(ItemNotServed) as caught:
                await archive.instance(STUDY, REFERENCE)
            assert "Secret" not in str(caught.value)


async def test_the_question_whether_it_is_well_names_no_study_that_it_holds() -> None:
    """The first that it lists may be the one it fails on."""

    def reply(handler: Handler) -> None:
        nobodys = "StudyInstanceUID=2.25.0" in handler.path
        handler.answer(200 if nobodys else 500, "application/dicom+json", b"[]")

    with http_peer(reply) as url:
        async with _archive(url) as archive:
            with pytest.raises(ItemNotServed):
                await archive.describe(STUDY)


async def test_an_empty_archive_is_well_too() -> None:
    """204: no matches, as QIDO-RS may say it."""
    with http_peer(_fails_on_the_study(500, lambda handler: handler.answer(204, "", b""))) as url:
        async with _archive(url) as archive:
            with pytest.raises(ItemNotServed):
                await archive.describe(STUDY)


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
async def test_other_statuses_never_are(status: int) -> None:
    with http_peer(_fails_on_the_study(status, _good)) as url:
        async with _archive(url) as archive:
            with pytest.raises(ArchiveUnavailable):
                await archive.describe(STUDY)


async def test_nobody_listens() -> None:
    with http_peer(_good) as url:
        pass
    async with _archive(url) as archive:
        with pytest.raises(ArchiveUnavailable):
            await archive.describe(STUDY)


def _hang(handler: Handler) -> None:
    handler.release.wait(20)


def _drip_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.release.wait(0.05):
        handler.wfile.write(b"x")


def _drip_body(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n\r\n[")
    while not handler.release.wait(0.05):
        handler.wfile.write(b" ")


def _drip_chunks(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not handler.release.wait(0.05):
        handler.wfile.write(b"1\r\n \r\n")


@pytest.mark.parametrize("reply", [_hang, _drip_headers, _drip_body, _drip_chunks])
async def test_an_archive_without_an_end_is_cut(reply: Callable[[Handler], None]) -> None:
    slow = True

    def sometimes(handler: Handler) -> None:
        (reply if slow else _good)(handler)

    with http_peer(sometimes) as url:
        async with _archive(url, pool_size=1) as archive:
            start = time.monotonic()
            with pytest.raises(ArchiveUnavailable):
                await archive.describe(STUDY)
            assert time.monotonic() - start < 4 * TIMEOUT_S
            slow = False  # its only thread is free again
            assert (await archive.describe(STUDY)).images


async def test_a_hung_archive_starves_nobody_else() -> None:
    with http_peer(_hang) as hung, http_peer(_good) as good:
        async with _archive(hung, pool_size=1) as one, _archive(good) as other:
            waiting = asyncio.create_task(one.describe(STUDY))
            await other.describe(STUDY)
            assert not waiting.done()
            with pytest.raises(ArchiveUnavailable):
                await waiting


def _cut_short(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 1000\r\n\r\n[]")
    handler.close_connection = True


def _too_large(handler: Handler) -> None:
    handler.answer(200, "application/dicom+json", b" " * (SIZE_LIMIT + 1))


def _text(content_type: str, content: bytes) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(200, content_type, content)


_OTHER_STUDY = _text("application/dicom+json", _dicom_json(radiograph()))
_BROKEN_UID = _text("application/dicom+json", _dicom_json(IMAGE).replace(uid_of(IMAGE).encode(), b"1.02.3"))


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (_cut_short, ArchiveUnavailable),
        (_too_large, InvalidResource),
        (_text("text/html", b"<html>[]</html>"), InvalidResource),
        (_text("application/dicom+json", b'[{"0020000D": '), InvalidResource),
        (_text("application/dicom+json", b"[" * 50_000), InvalidResource),
        (_text("application/dicom+json", b'{"error": "Secret^Name"}'), InvalidResource),
        (_text("application/dicom+json", b"[1, null]"), InvalidResource),
        (_text("application/dicom+json", b'[{"0020000D": {"Value": {}}}]'), InvalidResource),
        (_text("application/dicom+json", b"[]"), StudyIncomplete),
        (_OTHER_STUDY, InvalidResource),
        (_BROKEN_UID, InvalidResource),
    ],
)
async def test_a_bad_description_is_a_named_error(reply: Callable[[Handler], None], error: type[RadstreamError]) -> None:
    with http_peer(reply) as url:
        async with _archive(url) as archive:
            with pytest.raises(error) as caught:
                await archive.describe(STUDY)
            assert "Secret" not in str(caught.value)


@pytest.mark.parametrize("otherwise", [_status(401), _status(404), _status(503), _cut_short, _too_large, _hang, _drip_body])
async def test_500_from_an_archive_that_is_not_well_is_a_pause(otherwise: Callable[[Handler], None]) -> None:
    with http_peer(_fails_on_the_study(500, otherwise)) as url:
        async with _archive(url, pool_size=1) as archive:
            start = time.monotonic()
            with pytest.raises(ArchiveUnavailable):
                await archive.describe(STUDY)
            assert time.monotonic() - start < 4 * TIMEOUT_S


async def test_metadata_of_another_instance_is_refused() -> None:
    other = radiograph(StudyInstanceUID=IMAGE.StudyInstanceUID)

    def reply(handler: Handler) -> None:
        metadata = handler.path.endswith("/metadata")
        handler.answer(200, "application/dicom+json", _dicom_json(other if metadata else IMAGE))

    with http_peer(reply) as url:
        async with _archive(url) as archive:
            with pytest.raises(InvalidResource):
                await archive.describe(STUDY)


async def test_all_pages_are_read() -> None:
    """Of a server with a limit of its own (Warning 299, PS3.18 8.3.4.4)."""
    images = [radiograph(StudyInstanceUID=IMAGE.StudyInstanceUID) for _ in range(5)]

    def reply(handler: Handler) -> None:
        if handler.path.endswith("/metadata"):
            asked = next(image for image in images if f"/{image.SOPInstanceUID}/" in handler.path)
            return handler.answer(200, "application/dicom+json", _dicom_json(asked))
        offset = int(handler.path.rpartition("offset=")[2])
        warning = {"Warning": '299 archive "There are more results"'} if offset + 2 < len(images) else {}
        return handler.answer(200, "application/dicom+json", _dicom_json(*images[offset : offset + 2]), **warning)

    with http_peer(reply) as url:
        async with _archive(url) as archive:
            described = await archive.describe(STUDY)
    assert [image.sop_instance_uid for image in described.images] == sorted(uid_of(image) for image in images)


@pytest.mark.parametrize(
    "reply",
    [
        _text("text/html", b"<html></html>"),
        _text("multipart/related", b"no boundary"),
        _text("multipart/related; boundary=b", b"no part"),
        _text(*_multipart()),
        _text(*_multipart(part10(IMAGE), part10(IMAGE))),
        _text(*_multipart(b"<html>not DICOM</html>")),
        _text(*_multipart(part10(IMAGE)[:140])),
        _text(*_multipart(part10(radiograph()))),
        _too_large,
    ],
)
async def test_a_bad_instance_is_invalid(reply: Callable[[Handler], None]) -> None:
    with http_peer(reply) as url:
        async with _archive(url) as archive:
            with pytest.raises(InvalidResource):
                await archive.instance(STUDY, REFERENCE)


@pytest.mark.parametrize("failed", [[{"00081197": {"vr": "US", "Value": [272]}}], []])
async def test_an_instance_that_was_not_stored_is_refused(failed: list[Any]) -> None:
    answer = {"00081198": {"vr": "SQ", "Value": failed}, "00081199": {"vr": "SQ"}}
    with http_peer(_text("application/dicom+json", json.dumps(answer).encode())) as url:
        async with _archive(url) as archive:
            with pytest.raises(ResourceRefused) as caught:
                await archive.store([part10(IMAGE)])
            assert ("272" in str(caught.value)) == bool(failed)


async def test_the_token_is_sent_and_no_compression_asked_for() -> None:
    seen: list[tuple[str | None, str | None]] = []

    def reply(handler: Handler) -> None:
        seen.append((handler.headers["Authorization"], handler.headers["Accept-Encoding"]))
        _good(handler)

    with http_peer(reply) as url:
        async with _archive(url, token="t0ken") as archive:
            await archive.instance(STUDY, REFERENCE)
    assert seen == [("Bearer t0ken", "identity")]


async def test_a_connection_closed_while_idle_is_no_failure() -> None:
    """Orthanc closes after 1 s: the next request meets a dead connection."""

    def reply(handler: Handler) -> None:
        _good(handler)
        handler.close_connection = True

    with http_peer(reply) as url:
        async with _archive(url, pool_size=1) as archive:
            answers = [await archive.instance(STUDY, REFERENCE) for _ in range(20)]
    assert len(set(answers)) == 1


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


async def test_the_http_library_logs_nothing(everything_logged: pytest.LogCaptureFixture) -> None:
    with http_peer(_good) as url:
        async with _archive(url) as archive:
            await archive.describe(STUDY)
            await archive.instance(STUDY, REFERENCE)
    assert [record for record in everything_logged.records if record.name.startswith(("urllib3", "requests"))] == []

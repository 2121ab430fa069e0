"""What the DICOMweb client makes of archives that misbehave: a named error, in time, and the next call works."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from schemas.errors import (
    ArchiveUnavailable,
    InvalidResource,
    ItemNotServed,
    RadstreamError,
    ResourceRefused,
    StudyIncomplete,
)
from schemas.identifiers import AccessionNumber, PatientIdentifier
from streams.settings import Settings
from streams.wiring.clients import archive_for
from tests.contract.example_images import part10, radiograph, uid_of
from tests.unit.archive_peer import (
    IMAGE,
    IMPATIENT_S,
    PATIENT_S,
    REFERENCE,
    SIZE_LIMIT,
    STUDY,
    archive_at,
    cut_short,
    dicom_json,
    drip_body,
    drip_chunks,
    drip_headers,
    good,
    hang,
    multipart,
    too_large,
    typed,
)
from tests.unit.http_peer import Handler, http_peer


async def test_a_good_answer_is_described_and_fetched() -> None:
    with http_peer(good) as url:
        async with archive_at(url) as archive:
            described = await archive.describe(STUDY)
            assert [image.sop_instance_uid for image in described.images] == [uid_of(IMAGE)]
            assert await archive.instance(STUDY, REFERENCE) == part10(IMAGE)


@pytest.mark.parametrize("value", ["*", "A?", "A1\\A2"])
async def test_an_accession_number_is_no_pattern(value: str) -> None:
    """An HL7 message may hold anything: the archive is not asked to look through all its studies."""

    def asked(handler: Handler) -> None:
        raise AssertionError

    with http_peer(asked) as url:
        async with archive_at(url) as archive:
            assert list(await archive.studies_of(AccessionNumber(value=value, assigner="SITE"))) == []


async def test_an_instance_that_comes_without_an_envelope() -> None:
    with http_peer(typed("application/dicom", part10(IMAGE))) as url:
        async with archive_at(url) as archive:
            assert await archive.instance(STUDY, REFERENCE) == part10(IMAGE)


@pytest.mark.parametrize(("archives", "owner"), [(None, "HOSPITAL"), ("OLD-PACS", "OLD-PACS")])
async def test_patient_ids_without_issuer_are_the_archives(archives: str | None, owner: str) -> None:
    """Rule 8: DICOM often keeps the old number. The setting goes through the wiring."""
    with http_peer(good) as url:
        sections = {
            "archive": {"dicomweb_url": url, "default_patient_assigner": archives},
            "site": {"default_assigner": "HOSPITAL"},
        }
        with closing(archive_for(Settings.model_validate(sections))) as archive:
            described = await archive.describe(STUDY)
    assert described.patient == PatientIdentifier(value="SECRET-ID", assigner=owner)


async def test_nobody_listens() -> None:
    with http_peer(good) as url:
        pass
    async with archive_at(url) as archive:
        with pytest.raises(ArchiveUnavailable):
            await archive.describe(STUDY)


@pytest.mark.parametrize("reply", [hang, drip_headers, drip_body, drip_chunks])
async def test_an_archive_without_an_end_is_cut(reply: Callable[[Handler], None]) -> None:
    slow = True

    def sometimes(handler: Handler) -> None:
        (reply if slow else good)(handler)

    with http_peer(sometimes) as url:
        async with archive_at(url, timeout_s=IMPATIENT_S, pool_size=1) as archive:
            start = time.monotonic()
            with pytest.raises(ArchiveUnavailable):
                await archive.describe(STUDY)
            assert time.monotonic() - start < 4 * IMPATIENT_S
            slow = False  # its only thread is free again
            assert (await archive.describe(STUDY)).images


async def test_a_timer_that_is_late_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine: the socket has waited as long by then."""

    class Late(threading.Timer):
        def __init__(self, interval: float, function: Callable[[], None]) -> None:
            super().__init__(interval + PATIENT_S, function)

    monkeypatch.setattr("connectors.deadline.threading.Timer", Late)
    with http_peer(lambda handler: (hang if STUDY in handler.path else good)(handler)) as url:
        async with archive_at(url, timeout_s=IMPATIENT_S) as archive:
            with pytest.raises(ItemNotServed, match=f"no complete answer within {0.8 * IMPATIENT_S:g} s"):
                await archive.describe(STUDY)


async def test_a_hung_archive_starves_nobody_else() -> None:
    with http_peer(good) as well:
        async with archive_at(well) as other:
            with http_peer(hang) as hung:
                async with archive_at(hung, pool_size=1) as one:
                    waiting = asyncio.create_task(one.describe(STUDY))
                    await other.describe(STUDY)
                    assert not waiting.done()
            with pytest.raises(ArchiveUnavailable):  # it has gone
                await waiting


_OTHER_STUDY = typed("application/dicom+json", dicom_json(radiograph()))
_BROKEN_UID = typed("application/dicom+json", dicom_json(IMAGE).replace(uid_of(IMAGE).encode(), b"1.02.3"))


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (cut_short, ArchiveUnavailable),
        (too_large, InvalidResource),
        (typed("text/html", b"<html>[]</html>"), ArchiveUnavailable),
        (typed("application/dicom+json", b'[{"0020000D": '), InvalidResource),
        (typed("application/dicom+json", b"[" * 50_000), InvalidResource),
        (typed("application/dicom+json", b'{"error": "Secret^Name"}'), InvalidResource),
        (typed("application/dicom+json", b"[1, null]"), InvalidResource),
        (typed("application/dicom+json", b'[{"0020000D": {"Value": {}}}]'), InvalidResource),
        (typed("application/dicom+json", b"[]"), StudyIncomplete),
        (_OTHER_STUDY, InvalidResource),
        (_BROKEN_UID, InvalidResource),
    ],
)
async def test_a_bad_description_is_a_named_error(reply: Callable[[Handler], None], error: type[RadstreamError]) -> None:
    with http_peer(reply) as url:
        async with archive_at(url) as archive:
            with pytest.raises(error) as caught:
                await archive.describe(STUDY)
            assert "Secret" not in str(caught.value)


async def test_metadata_of_another_instance_is_refused() -> None:
    other = radiograph(StudyInstanceUID=IMAGE.StudyInstanceUID)

    def reply(handler: Handler) -> None:
        metadata = handler.path.endswith("/metadata")
        handler.answer(200, "application/dicom+json", dicom_json(other if metadata else IMAGE))

    with http_peer(reply) as url:
        async with archive_at(url) as archive:
            with pytest.raises(InvalidResource):
                await archive.describe(STUDY)


async def test_all_pages_are_read() -> None:
    """Of a server with a limit of its own (Warning 299, PS3.18 8.3.4.4)."""
    images = [radiograph(StudyInstanceUID=IMAGE.StudyInstanceUID) for _ in range(5)]

    def reply(handler: Handler) -> None:
        if handler.path.endswith("/metadata"):
            asked = next(image for image in images if f"/{image.SOPInstanceUID}/" in handler.path)
            return handler.answer(200, "application/dicom+json", dicom_json(asked))
        offset = int(handler.path.rpartition("offset=")[2])
        warning = {"Warning": '299 archive "There are more results"'} if offset + 2 < len(images) else {}
        return handler.answer(200, "application/dicom+json", dicom_json(*images[offset : offset + 2]), **warning)

    with http_peer(reply) as url:
        async with archive_at(url) as archive:
            described = await archive.describe(STUDY)
    assert [image.sop_instance_uid for image in described.images] == sorted(uid_of(image) for image in images)


@pytest.mark.parametrize(
    "reply",
    [
        typed("multipart/related", b"no boundary"),
        typed("multipart/related; boundary=b", b"no part"),
        typed(*multipart()),
        typed(*multipart(part10(IMAGE), part10(IMAGE))),
        typed(*multipart(b"<html>not DICOM</html>")),
        typed(*multipart(part10(IMAGE)[:140])),
        typed(*multipart(part10(radiograph()))),
        typed(multipart()[0], b" " * (SIZE_LIMIT + 1)),
    ],
)
async def test_a_bad_instance_is_invalid(reply: Callable[[Handler], None]) -> None:
    with http_peer(reply) as url:
        async with archive_at(url) as archive:
            with pytest.raises(InvalidResource):
                await archive.instance(STUDY, REFERENCE)


@pytest.mark.parametrize("failed", [[{"00081197": {"vr": "US", "Value": [272]}}], []])
async def test_an_instance_that_was_not_stored_is_refused(failed: list[Any]) -> None:
    answer = {"00081198": {"vr": "SQ", "Value": failed}, "00081199": {"vr": "SQ"}}
    with http_peer(typed("application/dicom+json", json.dumps(answer).encode())) as url:
        async with archive_at(url) as archive:
            with pytest.raises(ResourceRefused) as caught:
                await archive.store([part10(IMAGE)])
            assert ("272" in str(caught.value)) == bool(failed)


@pytest.mark.parametrize("status", [202, 409])
async def test_an_archive_that_is_full_is_nobodys_fault(status: int) -> None:
    """PS3.18 table I.2-2, A700: told again when it has room."""
    answer = json.dumps({"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}).encode()
    with http_peer(lambda handler: handler.answer(status, "application/dicom+json", answer)) as url:
        async with archive_at(url) as archive:
            with pytest.raises(ArchiveUnavailable, match="out of resources"):
                await archive.store([part10(IMAGE)])


async def test_no_compression_is_asked_for() -> None:
    seen: list[str | None] = []

    def reply(handler: Handler) -> None:
        seen.append(handler.headers["Accept-Encoding"])
        good(handler)

    with http_peer(reply) as url:
        async with archive_at(url) as archive:
            await archive.instance(STUDY, REFERENCE)
    assert seen == ["identity"]


async def test_an_error_page_without_an_end_is_what_its_status_says() -> None:
    def reply(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n")
        while not handler.release.is_set():
            handler.wfile.write(b"x" * 65536)

    with http_peer(reply) as url:
        async with archive_at(url) as archive:
            with pytest.raises(ResourceRefused) as caught:
                await archive.instance(STUDY, REFERENCE)
    assert "400" in str(caught.value)


async def test_a_connection_closed_while_idle_is_no_failure() -> None:
    """Orthanc closes after 1 s: the next request meets a dead connection."""

    def reply(handler: Handler) -> None:
        good(handler)
        handler.close_connection = True

    with http_peer(reply) as url:
        async with archive_at(url, pool_size=1) as archive:
            answers = [await archive.instance(STUDY, REFERENCE) for _ in range(20)]
    assert len(set(answers)) == 1


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


async def test_the_http_library_logs_nothing(everything_logged: pytest.LogCaptureFixture) -> None:
    with http_peer(good) as url:
        async with archive_at(url) as archive:
            await archive.describe(STUDY)
            await archive.instance(STUDY, REFERENCE)
    assert [record for record in everything_logged.records if record.name.startswith(("urllib3", "requests"))] == []

"""The step `analyse` on the real DICOMweb client, and archives at their worst: a named error in time, and the next study is
analysed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import pytest

from schemas.errors import AccessRefused, ArchiveUnavailable, InvalidResource, ItemNotServed, RadstreamError, StudyIncomplete
from schemas.findings import Findings
from schemas.identifiers import SeriesInstanceUID, StudyInstanceUID
from schemas.ports import Record, Step
from schemas.study_events import ImageReference
from streams.guard import Guard, Outcome
from streams.steps.analyse import analyse
from streams.topics import DEAD_LETTERS, RESULTS
from streams.turns import Turns
from tests.contract.example_images import part10, radiograph, study_of, uid_of
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.test_image_decoders import InProcessDecoder
from tests.unit.analyses import KeptInMemory, ScriptedModel, record_of, request_for, using
from tests.unit.archive_peer import (
    IMAGE,
    IMPATIENT_S,
    PATIENT_S,
    STUDY,
    always,
    archive_at,
    drip_chunks,
    drip_headers,
    good,
    hang,
    multipart,
    typed,
)
from tests.unit.http_peer import Handler, http_peer
from tests.unit.test_guard import Clock, Health, Store

#: the study whose image the archive will not give
OTHER = radiograph()
OTHER_STUDY = study_of(OTHER)


def _asks_for(study: StudyInstanceUID) -> Record:
    image = IMAGE if study == STUDY else OTHER
    reference = ImageReference(
        series_instance_uid=SeriesInstanceUID(image.SeriesInstanceUID),
        sop_instance_uid=uid_of(image),
        sop_class_uid=str(image.SOPClassUID),
        modality="CR",
        body_part_examined="CHEST",
        view_position="PA",
    )
    return record_of(request_for(study, [reference]))


def _step(archive: object) -> Step:
    return partial(
        analyse,
        archive=archive,  # type: ignore[arg-type]
        decoder=InProcessDecoder(),
        models=using(ScriptedModel()),
        kept=KeptInMemory(),
        decoding=Turns(),
        predicting=Turns(),
    )


def _stream_for_ever(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: " + multipart()[0].encode() + b"\r\n\r\n--b\r\n\r\n")
    while not handler.release.is_set():
        handler.wfile.write(b"\0" * 65536)


def _drip_for_ever(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: " + multipart()[0].encode() + b"\r\n\r\n--b\r\n\r\n")
    while not handler.release.wait(0.05):
        handler.wfile.write(b"\0")


def _half(handler: Handler) -> None:
    content_type, content = multipart(part10(OTHER))
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    handler.wfile.write(head.encode() + content[: len(content) // 2])
    handler.close_connection = True


_LOG_IN = typed("text/html", b"<html>Secret^Name</html>")
_ANOTHER_STUDYS = typed(*multipart(part10(IMAGE)))
Reply = Callable[[Handler], None]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (_stream_for_ever, InvalidResource),
        (_half, ItemNotServed),
        (always(302), AccessRefused),
        (always(401), AccessRefused),
        (always(404), StudyIncomplete),
        (always(500), ItemNotServed),
        (always(503), ArchiveUnavailable),
        (_LOG_IN, ItemNotServed),
        (typed(multipart()[0], b"<html>Secret^Name</html>"), InvalidResource),
        (_ANOTHER_STUDYS, InvalidResource),
    ],
)
async def test_one_study_fails_by_name_and_in_time_and_the_next_is_analysed(reply: Reply, error: type[RadstreamError]) -> None:
    with http_peer(lambda handler: (reply if OTHER_STUDY in handler.path else good)(handler)) as url:
        async with archive_at(url, pool_size=1) as archive:
            step = _step(archive)
            start = time.monotonic()
            with pytest.raises(error) as caught:
                await step(_asks_for(OTHER_STUDY))
            assert time.monotonic() - start < PATIENT_S / 2
            assert "Secret" not in str(caught.value)
            (out,) = await step(_asks_for(STUDY))
    assert Findings.model_validate_json(out.value).images[0].sop_instance_uid == uid_of(IMAGE)


async def test_a_study_that_hangs_or_drips_is_told_from_an_archive_that_does() -> None:
    """All at once: each takes its whole time. A fifth of it is for the question whether the archive is well."""
    limit_s = 10.0

    async def one(reply: Reply) -> None:
        with http_peer(lambda handler: (reply if OTHER_STUDY in handler.path else good)(handler)) as url:
            async with archive_at(url, timeout_s=limit_s, pool_size=1) as archive:
                start = time.monotonic()
                with pytest.raises(ItemNotServed, match="no complete answer within"):
                    await _step(archive)(_asks_for(OTHER_STUDY))
                assert time.monotonic() - start < 2 * limit_s
                (out,) = await _step(archive)(_asks_for(STUDY))
        assert Findings.model_validate_json(out.value).images

    await asyncio.gather(*map(one, (hang, drip_headers, drip_chunks, _drip_for_ever)))


@pytest.mark.parametrize("reply", [hang, _drip_for_ever, always(404), always(500), always(503), _LOG_IN])
async def test_an_archive_that_is_ill_pauses_the_step_and_no_study_is_lost(reply: Reply) -> None:
    """The whole archive is meant: what it says of every study is no study's fault."""
    ill = True
    log, cases, health = FakeEventLog(RESULTS.name, DEAD_LETTERS.name), Store(), Health()

    def told(state: str, reason: str) -> None:
        nonlocal ill
        health(state, reason)
        ill = False  # by the next try it is well

    with http_peer(lambda handler: (reply if ill else good)(handler)) as url:
        async with archive_at(url, timeout_s=IMPATIENT_S, pool_size=1) as archive:
            guard = Guard("analyse", _step(archive), log, cases, Clock(), asyncio.Event(), health=told, first_pause_s=0.01)
            assert await guard(_asks_for(STUDY)) is Outcome.DONE
    assert health.states == ["paused", "ready"]
    assert not cases.due
    assert log.records(DEAD_LETTERS.name) == []
    (result,) = log.records(RESULTS.name)
    assert Findings.model_validate_json(result.value).images


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (always(401), Outcome.DEAD_LETTER),
        (_ANOTHER_STUDYS, Outcome.DEAD_LETTER),
        (_stream_for_ever, Outcome.DEAD_LETTER),
        (_half, Outcome.PARKED),
        (always(404), Outcome.PARKED),
        (always(500), Outcome.PARKED),
        (_LOG_IN, Outcome.PARKED),
    ],
)
async def test_what_one_study_meets_is_put_aside(reply: Reply, outcome: Outcome) -> None:
    log, cases, health = FakeEventLog(RESULTS.name, DEAD_LETTERS.name), Store(), Health()
    with http_peer(lambda handler: (reply if OTHER_STUDY in handler.path else good)(handler)) as url:
        async with archive_at(url, pool_size=1) as archive:
            guard = Guard("analyse", _step(archive), log, cases, Clock(), asyncio.Event(), health=health)
            assert await guard(_asks_for(OTHER_STUDY)) is outcome
            assert await guard(_asks_for(STUDY)) is Outcome.DONE
    assert health.states == []
    letters = log.records(DEAD_LETTERS.name)
    assert (len(letters), len(cases.due)) == ((1, 0) if outcome is Outcome.DEAD_LETTER else (0, 1))
    for letter in letters:
        assert letter.value == _asks_for(OTHER_STUDY).value
    assert len(log.records(RESULTS.name)) == 1

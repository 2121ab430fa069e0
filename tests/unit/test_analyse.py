"""The step `analyse` on an archive in memory, with the real decoder function and a scripted model."""

from __future__ import annotations

import asyncio

import pytest

from schemas.errors import ArchiveUnavailable, InvalidResource, MalformedMessage, ModelFailed, StudyIncomplete
from schemas.events import FINDINGS_TYPE
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Place, Record
from schemas.study_events import ImageReference
from streams.steps.analyse import analyse
from streams.turns import Turns
from tests.contract.example_images import radiograph, study_of, uid_of
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.test_image_decoders import InProcessDecoder
from tests.unit.analyses import ID, TRIGGERED, KeptInMemory, ScriptedModel, run, stored, using


async def test_a_chest_radiograph_is_analysed() -> None:
    image = radiograph()
    archive, request = await stored(image)
    findings, out = await run(archive, request)
    assert findings.analysis_id == ID
    assert findings.subject == request.subject
    assert findings.model == ScriptedModel.identity
    assert findings.threshold == 0.5
    assert [analysed.sop_instance_uid for analysed in findings.images] == [uid_of(image)]
    assert findings.not_analysed is None
    headers = dict(out.headers)
    assert (out.topic, out.key) == ("ai.results", study_of(image).encode())
    assert headers["ce_id"] == str(ID).encode()
    assert headers["ce_type"] == FINDINGS_TYPE.encode()
    assert headers["ce_time"] == b"2026-01-02T03:04:05Z"
    assert headers["cause"] == b"ai.requests/1/7"


async def test_the_same_request_gives_the_same_bytes() -> None:
    archive, request = await stored(radiograph())
    assert await run(archive, request) == await run(archive, request)


async def test_findings_are_numbered_over_all_images() -> None:
    first = radiograph()
    more = [radiograph(StudyInstanceUID=first.StudyInstanceUID) for _ in range(3)]
    archive, request = await stored(first, *more)
    findings, _ = await run(archive, request)
    assert [finding.ordinal for finding in findings.findings] == list(range(1, 9))
    order = [image.sop_instance_uid for image in request.images]
    assert [image.sop_instance_uid for image in findings.images] == order
    assert [finding.region.sop_instance_uid for finding in findings.findings] == [uid for uid in order for _ in (1, 2)]


async def test_one_broken_image_fails_the_study() -> None:
    """Findings of the other alone would read as "nothing else"."""
    first = radiograph()
    broken = radiograph(StudyInstanceUID=first.StudyInstanceUID, Rows=60_000)
    archive, request = await stored(first, broken)
    with pytest.raises(InvalidResource):
        await run(archive, request)


async def test_a_missing_image_is_incomplete() -> None:
    _, request = await stored(radiograph())
    with pytest.raises(StudyIncomplete):
        await run(FakeStudyArchive(), request)


@pytest.mark.parametrize("error", [ModelFailed("predict", "image", "why"), ArchiveUnavailable("fetch", "image", "why")])
async def test_other_errors_are_for_the_guard(error: Exception) -> None:
    archive, request = await stored(radiograph())
    with pytest.raises(type(error)):
        await run(archive, request, ScriptedModel(lambda _: error))


async def test_garbage_is_malformed() -> None:
    record = Record(Place("ai.requests", 0, 0), None, b'{"patient": "Secret"}', (), TRIGGERED)
    with pytest.raises(MalformedMessage) as caught:
        await analyse(
            record,
            archive=FakeStudyArchive(),
            decoder=InProcessDecoder(),
            models=using(ScriptedModel()),
            kept=KeptInMemory(),
            decoding=Turns(),
            predicting=Turns(),
        )
    assert "Secret" not in str(caught.value)


async def test_images_of_one_study_are_fetched_concurrently_but_bounded() -> None:
    first = radiograph()
    archive, request = await stored(first, *(radiograph(StudyInstanceUID=first.StudyInstanceUID) for _ in range(5)))
    under_way, most = 0, 0

    class Counting(FakeStudyArchive):
        async def instance(self, study: StudyInstanceUID, image: ImageReference) -> bytes:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            return await archive.instance(study, image)

    await run(Counting(), request)
    assert most == 2

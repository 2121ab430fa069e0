"""The step `render` on an archive and an object store in memory, with the real rendering function."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from structlog.testing import capture_logs

from connectors.objects import Objects, in_memory
from schemas.errors import (
    AccessRefused,
    ArchiveUnavailable,
    ItemNotServed,
    MalformedMessage,
    ObjectStoreUnavailable,
    RadstreamError,
    SettingsInvalid,
)
from schemas.findings import (
    CHEST_RADIOGRAPH_FINDINGS,
    AnalysedImage,
    Findings,
    ModelIdentity,
    NotAnalysed,
    NotAnalysedReason,
    Subject,
)
from schemas.identifiers import StudyInstanceUID
from schemas.ports import ObjectStore, Place, Record
from schemas.study_events import ImageReference
from schemas.study_ports import StudyDescription
from streams.pictures import picture_name
from streams.settings import Settings
from streams.steps.render import render
from streams.wiring.clients import object_store_for
from tests.contract.example_images import RAMP, part10, radiograph, study_of, uid_of
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.test_image_renderers import InProcessRenderer

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DIGEST = hashlib.sha256(RAMP.tobytes()).hexdigest()


def digest(image: Dataset) -> str:
    return hashlib.sha256(image.PixelData).hexdigest()


def another(first: Dataset, number: int) -> Dataset:
    """Another image of its study, with pixels of its own."""
    return radiograph(RAMP + np.uint16(number), StudyInstanceUID=first.StudyInstanceUID)


async def stored(*images: Dataset) -> FakeStudyArchive:
    archive = FakeStudyArchive()
    await archive.store([part10(image) for image in images])
    return archive


def result(*images: Dataset, outward: bool = True, service: str = CHEST_RADIOGRAPH_FINDINGS) -> Record:
    analysed = tuple(
        AnalysedImage(
            sop_instance_uid=uid_of(image), pixel_sha256=digest(image), rows=image.Rows, columns=image.Columns, probability=0.1
        )
        for image in images
    )
    subject = Subject(study_instance_uid=study_of(images[0]), revision="0" * 64, sequence=1, triggered_at=AT, outward=outward)
    identity = ModelIdentity(name="scripted", version="1", weights_sha256="0" * 64)
    return record(
        Findings(analysis_id=UUID(int=1), subject=subject, service=service, model=identity, images=analysed, threshold=0.5)
    )


def record(findings: Findings) -> Record:
    return Record(Place("ai.results", 0, 7), b"k", findings.model_dump_json().encode(), (), AT)


async def run(record: Record, archive: FakeStudyArchive, objects: ObjectStore) -> None:
    assert await render(record, archive=archive, renderer=InProcessRenderer(), objects=objects) == []


@pytest.mark.parametrize("outward", [True, False])
async def test_every_analysed_image_has_its_picture(outward: bool) -> None:
    first = radiograph()
    second = another(first, 1)
    objects = in_memory()
    await run(result(first, second, outward=outward), await stored(first, second, another(first, 2)), objects)
    for image in (first, second):
        png = await objects.get(picture_name(digest(image)))
        assert png is not None
        with Image.open(io.BytesIO(png)) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (8, 6))
    assert not await objects.holds(picture_name(digest(another(first, 2))))  # it was not analysed


async def test_what_has_a_picture_is_neither_fetched_nor_put() -> None:
    image = radiograph()
    objects = in_memory()
    await objects.put(picture_name(DIGEST), b"as it was")
    await run(result(image), FakeStudyArchive(), objects)  # asking this archive would be told
    assert await objects.get(picture_name(DIGEST)) == b"as it was"


async def test_a_second_service_that_saw_the_same_image_makes_no_second_picture() -> None:
    image = radiograph()
    objects = in_memory()
    await run(result(image), await stored(image), objects)
    first = await objects.get(picture_name(DIGEST))
    assert first is not None
    await run(result(image, service="devices"), FakeStudyArchive(), Once(objects))  # asking this archive would be told
    assert await objects.get(picture_name(DIGEST)) == first


class Once:
    """An object store into which nothing is put any more."""

    def __init__(self, objects: Objects) -> None:
        self.holds, self.get = objects.holds, objects.get

    async def put(self, name: str, value: bytes) -> None:
        raise AssertionError(f"{name} was put again")


async def test_a_study_that_was_not_analysed_has_none() -> None:
    subject = Subject(study_instance_uid=StudyInstanceUID("1.2"), revision="0" * 64, sequence=1, triggered_at=AT)
    why = NotAnalysed(reason=NotAnalysedReason.NO_IMAGE, explanation="The study holds no image.")
    with capture_logs() as logs:
        await run(record(Findings(analysis_id=UUID(int=1), subject=subject, not_analysed=why)), FakeStudyArchive(), in_memory())
    assert logs == []


async def no_picture(record: Record, archive: FakeStudyArchive, of: str = DIGEST) -> dict[str, object]:
    """The one line that says why."""
    objects = in_memory()
    with capture_logs() as logs:
        await run(record, archive, objects)
    assert not await objects.holds(picture_name(of))
    (line,) = logs
    assert line["log_level"] == "info"
    return dict(line)


async def test_a_study_that_is_gone() -> None:
    image = radiograph()
    assert (await no_picture(result(image), FakeStudyArchive()))["error"] == "StudyIncomplete"


async def test_an_image_that_is_gone_costs_the_others_nothing() -> None:
    first = radiograph()
    second = another(first, 1)
    objects = in_memory()
    with capture_logs() as logs:
        await run(result(first, second), await stored(second), objects)
    assert [line["reference"] for line in logs] == [f"instance {uid_of(first)}"]
    assert await objects.holds(picture_name(digest(second)))


async def test_an_image_that_vanishes_between_two_questions() -> None:
    image = radiograph()
    archive = await stored(image)

    class Vanishing(FakeStudyArchive):
        async def describe(self, study: StudyInstanceUID) -> StudyDescription:
            return await archive.describe(study)

    assert (await no_picture(result(image), Vanishing()))["error"] == "StudyIncomplete"


async def test_other_pixels_than_were_analysed() -> None:
    image = radiograph()
    analysed = result(image)
    image.PixelData = (RAMP + 1).tobytes()
    line = await no_picture(analysed, await stored(image), digest(image))
    assert "other pixels" in str(line["reason"])


async def test_a_file_that_cannot_be_rendered() -> None:
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [4096, 0, 12])
    lut.add_new("LUTData", "US", [1, 2, 3])
    image = radiograph(VOILUTSequence=[lut], PatientName="Secret^Name")
    line = await no_picture(result(image), await stored(image))
    assert line["error"] == "InvalidResource"
    assert "Secret" not in str(line)


@pytest.mark.parametrize("error", [ArchiveUnavailable, ItemNotServed, AccessRefused])
async def test_what_the_guard_must_know_of_the_archive(error: type[RadstreamError]) -> None:
    image = radiograph()
    archive = await stored(image)

    class Failing(FakeStudyArchive):
        async def describe(self, study: StudyInstanceUID) -> StudyDescription:
            return await archive.describe(study)

        async def instance(self, study: StudyInstanceUID, image: ImageReference) -> bytes:
            raise error("fetch", "image", "why")

    with pytest.raises(error):
        await run(result(image), Failing(), in_memory())


class Refusing:
    """An object store that refuses one verb."""

    def __init__(self, verb: str, error: Exception) -> None:
        self._verb, self._error = verb, error

    async def holds(self, name: str) -> bool:
        if self._verb == "holds":
            raise self._error
        return False

    async def put(self, name: str, value: bytes) -> None:
        raise self._error

    async def get(self, name: str) -> bytes | None:
        raise AssertionError("nobody asked for it")


@pytest.mark.parametrize("verb", ["holds", "put"])
@pytest.mark.parametrize("error", [AccessRefused, ObjectStoreUnavailable])
async def test_a_store_that_refuses_or_is_away_is_waited_for(verb: str, error: type[RadstreamError]) -> None:
    image = radiograph()
    objects = Refusing(verb, error("objects", "images/a.png", "why"))
    with pytest.raises(ObjectStoreUnavailable):
        await render(result(image), archive=await stored(image), renderer=InProcessRenderer(), objects=objects)


async def test_garbage_is_malformed() -> None:
    garbage = Record(Place("ai.results", 0, 0), None, b'{"patient": "Secret"}', (), AT)
    with pytest.raises(MalformedMessage) as caught:
        await run(garbage, FakeStudyArchive(), in_memory())
    assert "Secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["gs://pictures", "s3://", "s3:///prefix", "file:///pictures"])
def test_only_folders_and_buckets_are_object_stores(url: str) -> None:
    with pytest.raises(SettingsInvalid):
        object_store_for(Settings(), url)

"""Which radiograph a request means, and that a request can send this server nowhere."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from PIL import Image

from connectors.film_files import FilmFiles
from connectors.inference_tensors import Tensor, as_bytes
from connectors.objects import Objects, in_memory
from schemas.errors import InvalidResource, MalformedMessage, Unsuitable
from schemas.findings import NotAnalysedReason
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Radiograph
from schemas.study_events import ImageReference
from streams.serving.films import Films
from streams.steps.choosing import IntendedUse
from tests.contract.example_images import RAMP, part10, radiograph, structured_report, uid_of
from tests.contract.fake_study_archive import FakeStudyArchive

ARCHIVE = "https://archive.hospital:8043/dicom-web"
USE = IntendedUse(minimum_age_years=18)
FILM = radiograph()
LIMIT = 100_000
NAME = "Mustermann"


class _Watched(FakeStudyArchive):
    asked = 0

    async def instance(self, study: StudyInstanceUID, image: ImageReference) -> bytes:
        self.asked += 1
        return await super().instance(study, image)


@pytest.fixture(scope="module")
def files() -> Iterator[FilmFiles]:
    with closing(FilmFiles(workers=1, timeout_s=20, memory_limit_bytes=1024**3, pixel_limit=LIMIT)) as files:
        yield files


@pytest.fixture
def objects() -> Objects:
    return in_memory()


@pytest.fixture
async def archive() -> _Watched:
    archive = _Watched()
    await archive.store([part10(FILM)])
    return archive


@pytest.fixture
def films(files: FilmFiles, objects: Objects, archive: _Watched) -> Films:
    return Films(files, archive, ARCHIVE, objects, LIMIT, LIMIT)


async def _asked(films: Films, *tensors: Tensor, **parameters: Any) -> Radiograph:
    return await films.radiograph({tensor.name: tensor for tensor in tensors}, parameters, USE)


def _below(path: str = "") -> str:
    way = f"/studies/{FILM.StudyInstanceUID}/series/{FILM.SeriesInstanceUID}/instances/{FILM.SOPInstanceUID}"
    return f"{ARCHIVE}{way}{path}"


def _png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(RAMP.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
async def test_pixels(films: Films, dtype: type[np.generic]) -> None:
    values = (RAMP // 20).astype(dtype)
    seen = await _asked(films, Tensor("image", values))
    np.testing.assert_array_equal(seen.pixels, values)
    assert seen.pixels.dtype in (np.uint16, np.float32)
    assert (seen.modality, seen.body_part_examined, seen.pixel_spacing_mm) == ("CR", "CHEST", None), "what the model is for"
    again = await _asked(films, Tensor("image", values.copy()))
    assert (seen.sop_instance_uid, seen.pixel_sha256) == (again.sop_instance_uid, again.pixel_sha256)


async def test_what_is_said_of_pixels_is_believed_in_the_words_of_the_site(films: Films) -> None:
    said = {"Modality": "DX", "BodyPartExamined": "THORAX", "ViewPosition": "AP", "ImagerPixelSpacing": "0.2\\0.3"}
    seen = await _asked(films, Tensor("image", RAMP), binary_data_output=True, **said)
    assert (seen.modality, seen.body_part_examined, seen.view_position) == ("DX", "CHEST", "AP")
    assert (seen.pixel_spacing_mm, seen.pixel_spacing_plane) == ((0.2, 0.3), "detector")
    both = await _asked(films, Tensor("image", RAMP), PixelSpacing="0.1\\0.1", ImagerPixelSpacing="0.2\\0.3")
    assert (both.pixel_spacing_mm, both.pixel_spacing_plane) == ((0.1, 0.1), "patient")
    with pytest.raises(Unsuitable) as refused:
        await _asked(films, Tensor("image", RAMP), BodyPartExamined="HAND")
    assert refused.value.code is NotAnalysedReason.WRONG_BODY_PART


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"Modality": 7}, "parameter Modality: is no text"),
        ({"ViewPosition": NAME * 2}, "parameter ViewPosition: is no text of at most 16"),
        ({"PixelSpacing": 0.2}, "parameter PixelSpacing: is no row"),
        ({"ImagerPixelSpacing": NAME}, "parameter ImagerPixelSpacing: is no row"),
        ({"PixelSpacing": "1e9\\1"}, "parameter PixelSpacing: is no row"),
    ],
)
async def test_parameters_that_are_none(films: Films, parameters: dict[str, Any], why: str) -> None:
    with pytest.raises(MalformedMessage, match=why) as caught:
        await _asked(films, Tensor("image", RAMP), **parameters)
    assert NAME not in str(caught.value)


@pytest.mark.parametrize(
    "values", [np.zeros((0, 5), np.uint8), np.zeros((400, 400), np.uint8), np.full((3, 3), np.inf, np.float32)]
)
async def test_pixels_that_are_none(films: Films, values: np.ndarray) -> None:
    with pytest.raises(MalformedMessage, match="input image: h"):
        await _asked(films, Tensor("image", values))


async def test_a_file_in_the_request(films: Films) -> None:
    seen = await _asked(films, as_bytes("dicom", part10(FILM)), Modality="OT")
    np.testing.assert_array_equal(seen.pixels, RAMP)
    assert (seen.sop_instance_uid, seen.modality, seen.view_position) == (uid_of(FILM), "CR", "PA"), (
        "its headers, not the request's"
    )


@pytest.mark.parametrize(
    ("file", "error", "why"),
    [
        (b"", MalformedMessage, "input dicom: is no DICOM file"),
        (_png(), MalformedMessage, "input dicom: is no DICOM file"),
        (part10(FILM)[:200], InvalidResource, "input dicom: "),
        (part10(FILM)[:-1], InvalidResource, "input dicom: "),
        (part10(radiograph(Rows=4000, Columns=4000)), InvalidResource, "input dicom: "),
        (part10(radiograph(BodyPartExamined="HAND")), Unsuitable, "HAND"),
        (part10(radiograph(PatientAge="012Y")), Unsuitable, "from 18 years"),
        (part10(radiograph(PresentationIntentType="FOR PROCESSING")), Unsuitable, "rocessing"),
        (part10(structured_report("1.2.3")), InvalidResource, "input dicom: "),
    ],
)
async def test_files_that_are_not_for_the_model(films: Films, file: bytes, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        await _asked(films, as_bytes("dicom", file))


async def test_an_instance_of_the_archive(films: Films, archive: _Watched) -> None:
    seen = await _asked(films, as_bytes("url", _below().encode()))
    assert (seen.sop_instance_uid, archive.asked) == (uid_of(FILM), 1)
    with pytest.raises(MalformedMessage, match="the archive does not give this instance"):
        await _asked(films, as_bytes("url", _below().replace(uid_of(FILM), "1.2.3").encode()))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "\xff",
        f"http://{NAME}.example/studies/1.2/series/1.2/instances/1.2",
        _below().replace("https:", "http:"),
        _below().replace("archive.hospital", "archive.hospital@127.0.0.1"),
        _below().replace(":8043", ":80"),
        _below().replace("/dicom-web", "/dicom-web.example"),
        _below().replace("/dicom-web", "/dicom-web/../admin"),
        f"{ARCHIVE}/../studies/1.2/series/1.2/instances/1.2",
        f"{ARCHIVE}/studies/1.2/series/1.2",
        _below("/frames/1"),
        _below("?x=1"),
        _below("#x"),
        _below("\n"),
        _below("%2e%2e"),
        f"{ARCHIVE}/studies/1..2/series/1.2/instances/1.2",
        f"{ARCHIVE}/studies/01.2/series/1.2/instances/1.2",
        f"{ARCHIVE}/studies/{'1.2' * 40}/series/1.2/instances/1.2",
        "file:///etc/passwd",
        "/studies/1.2/series/1.2/instances/1.2",
    ],
)
async def test_no_other_address_is_asked(films: Films, archive: _Watched, url: str) -> None:
    with pytest.raises(MalformedMessage, match="input url: ") as caught:
        await _asked(films, as_bytes("url", url.encode("utf-8", "surrogateescape")))
    assert archive.asked == 0
    assert NAME not in str(caught.value)


async def test_an_archive_that_gives_another_file(films: Films, archive: _Watched) -> None:
    """The file meta says one instance, which the archive's connector compares, and the data set another."""
    other = radiograph()
    key = next(iter(archive._files))
    archive._files[key] = part10(other)
    with pytest.raises(InvalidResource, match="input url: the archive answered with another instance"):
        await _asked(films, as_bytes("url", _below().encode()))


@pytest.mark.parametrize("key", ["film.dcm", "2026/11/film 1.dcm", "images/ab12.png", "a/..b/c...", "x" * 1024])
async def test_an_object_of_the_store(films: Films, objects: Objects, key: str) -> None:
    await objects.put(key, _png() if key.endswith(".png") else part10(FILM))
    seen = await _asked(films, as_bytes("key", key.encode()), ViewPosition="AP")
    assert (seen.modality, seen.view_position) == ("CR", "AP" if key.endswith(".png") else "PA")
    assert seen.pixels.shape == RAMP.shape


_NO_KEYS = ["", "/etc/passwd", "..", ".", "../x", "a/../x", "a/..", "a/./x", "a//x", "a/", "a\\x", "a\nx", "a%2e%2e/x", "?", "é"]


@pytest.mark.parametrize("key", [*_NO_KEYS, "x" * 1025, "a/" * 500 + NAME + "?"])
async def test_what_is_no_name_of_an_object(films: Films, key: str) -> None:
    with pytest.raises(MalformedMessage, match="input key: is no name of an object") as caught:
        await _asked(films, as_bytes("key", key.encode()))
    assert NAME not in str(caught.value)


async def test_objects_that_are_not_there_or_too_large(films: Films, objects: Objects, files: FilmFiles, archive: _Watched) -> None:
    with pytest.raises(MalformedMessage, match="no such object"):
        await _asked(films, as_bytes("key", b"none"))
    await objects.put("large", bytes(LIMIT + 1))
    with pytest.raises(MalformedMessage, match="larger than"):
        await _asked(films, as_bytes("key", b"large"))
    await objects.put("text", b"x")
    with pytest.raises(InvalidResource, match="input key: the file is neither"):
        await _asked(films, as_bytes("key", b"text"))
    with pytest.raises(MalformedMessage, match="no object store is set"):
        await _asked(Films(files, archive, ARCHIVE, None, LIMIT, LIMIT), as_bytes("key", b"film.dcm"))


async def test_exactly_one_input(films: Films) -> None:
    for tensors in ([], [Tensor("image", RAMP), as_bytes("key", b"film.dcm")]):
        with pytest.raises(MalformedMessage, match="exactly one of image, dicom, url, key"):
            await _asked(films, *tensors)

"""What every ImageRenderer keeps. A subclass gives the fixture `renderer`; pixel limit PIXEL_LIMIT."""

from __future__ import annotations

import hashlib
import io
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from schemas.errors import InvalidResource, Unsuitable
from schemas.ports import ImageRenderer
from tests.contract.example_images import RAMP, part10, radiograph, uid_of


async def picture(renderer: ImageRenderer, image: Dataset) -> NDArray[np.uint8]:
    rendering = await renderer.render(part10(image), uid_of(image))
    with Image.open(io.BytesIO(rendering.png)) as shown:
        assert (shown.format, shown.mode) == ("PNG", "L")
        return np.asarray(shown)


class ImageRendererContract:
    async def test_without_a_window_from_the_lowest_to_the_highest_value(self, renderer: ImageRenderer) -> None:
        np.testing.assert_array_equal(await picture(renderer, radiograph()), np.rint(RAMP / RAMP.max() * 255))

    async def test_the_digest_is_that_of_the_stored_pixels(self, renderer: ImageRenderer) -> None:
        image = radiograph(WindowCenter=100, WindowWidth=50, PhotometricInterpretation="MONOCHROME1")
        rendering = await renderer.render(part10(image), uid_of(image))
        assert rendering.pixel_sha256 == hashlib.sha256(RAMP.tobytes()).hexdigest()

    @pytest.mark.parametrize(("pixels", "bits"), [(RAMP, 12), (RAMP.astype(np.int16) - 500, 12), ((RAMP // 4).astype(np.uint8), 8)])
    async def test_monochrome1_is_the_same_turned_over(self, renderer: ImageRenderer, pixels: NDArray[Any], bits: int) -> None:
        window = {"WindowCenter": 40, "WindowWidth": 300, "BitsStored": bits}
        positive = await picture(renderer, radiograph(pixels, **window))
        negative = await picture(renderer, radiograph(pixels, **window, PhotometricInterpretation="MONOCHROME1"))
        assert len(np.unique(positive)) > 10
        np.testing.assert_allclose(255.0 - positive, negative, atol=1)  # a half is rounded to even

    async def test_a_window_of_nothing_is_none(self, renderer: ImageRenderer) -> None:
        np.testing.assert_array_equal(
            await picture(renderer, radiograph(WindowCenter=0, WindowWidth=0)), await picture(renderer, radiograph())
        )

    async def test_one_value_everywhere(self, renderer: ImageRenderer) -> None:
        assert len(np.unique(await picture(renderer, radiograph(np.full_like(RAMP, 7))))) == 1

    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    async def test_what_is_hidden_is_black_and_stretches_nothing(self, renderer: ImageRenderer, photometric: str) -> None:
        padded = RAMP.copy()
        padded[0] = 4095
        image = radiograph(padded, PixelPaddingValue=4095, PhotometricInterpretation=photometric)
        shown = await picture(renderer, image)
        assert (shown[0] == 0).all()
        assert {0, 255} == {int(shown[1:].min()), int(shown[1:].max())}

    async def test_pixels_only(self, renderer: ImageRenderer) -> None:
        image = radiograph(PatientName="Secret^Name", PatientID="Secret", ImageComments="Secret")
        png = (await renderer.render(part10(image), uid_of(image))).png
        chunks, at = [], 8
        while at < len(png):
            length, kind = struct.unpack_from(">I4s", png, at)
            chunks.append(kind)
            at += 12 + length
        assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}

    @pytest.mark.parametrize("headers", [{"Rows": 65535, "Columns": 65535}, {"PixelData": None}, {"Rows": 7}])
    async def test_headers_that_cannot_be_are_invalid(self, renderer: ImageRenderer, headers: dict[str, object]) -> None:
        image = radiograph(**headers)
        with pytest.raises(InvalidResource):
            await renderer.render(part10(image), uid_of(image))

    async def test_a_lut_that_is_shorter_than_it_says_is_invalid(self, renderer: ImageRenderer) -> None:
        lut = Dataset()
        lut.add_new("LUTDescriptor", "US", [4096, 0, 12])
        lut.add_new("LUTData", "US", [1, 2, 3])
        image = radiograph(VOILUTSequence=[lut], PatientName="Secret^Name")
        with pytest.raises(InvalidResource) as caught:
            await renderer.render(part10(image), uid_of(image))
        assert "Secret" not in f"{caught.value!r} {caught.value.__cause__!r}"

    async def test_another_instance_is_invalid(self, renderer: ImageRenderer) -> None:
        with pytest.raises(InvalidResource):
            await renderer.render(part10(radiograph()), uid_of(radiograph()))

    async def test_several_frames_are_unsuitable(self, renderer: ImageRenderer) -> None:
        image = radiograph(np.stack([RAMP, RAMP]), NumberOfFrames=2)
        with pytest.raises(Unsuitable):
            await renderer.render(part10(image), uid_of(image))

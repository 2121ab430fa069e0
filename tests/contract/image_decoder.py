"""What every ImageDecoder keeps. A subclass gives the fixture `decoder`; pixel limit PIXEL_LIMIT."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from schemas.errors import InvalidResource, Unsuitable
from schemas.identifiers import SOPInstanceUID
from schemas.ports import ImageDecoder
from tests.contract.example_images import RAMP, part10, radiograph, uid_of

PIXEL_LIMIT = 4_000_000


class ImageDecoderContract:
    async def test_pixels_and_headers(self, decoder: ImageDecoder) -> None:
        image = radiograph(ImagerPixelSpacing=[0.2, 0.3])
        decoded = await decoder.decode(part10(image), uid_of(image))
        np.testing.assert_array_equal(decoded.pixels, RAMP)
        assert decoded.pixel_sha256 == hashlib.sha256(RAMP.tobytes()).hexdigest()
        assert (decoded.modality, decoded.body_part_examined, decoded.view_position) == ("CR", "CHEST", "PA")
        assert (decoded.pixel_spacing_mm, decoded.pixel_spacing_plane) == ((0.2, 0.3), "detector")

    async def test_a_real_radiograph_twice(self, decoder: ImageDecoder) -> None:
        file = get_testdata_file("RG1_UNCR.dcm", read=False)
        assert isinstance(file, str)
        part10_bytes = Path(file).read_bytes()
        uid = SOPInstanceUID(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID)
        first, second = await decoder.decode(part10_bytes, uid), await decoder.decode(part10_bytes, uid)
        assert first.pixels.shape == (1955, 1841)
        assert first.pixels.dtype == np.uint16
        assert first.pixel_sha256 == second.pixel_sha256
        np.testing.assert_array_equal(first.pixels, second.pixels)
        assert first.pixel_spacing_mm is None  # the file says 0.000

    @pytest.mark.parametrize("length", [0, 100, 131, 132, 200, 400, 700, -1, -40])
    async def test_a_truncated_file_is_invalid(self, decoder: ImageDecoder, length: int) -> None:
        image = radiograph()
        with pytest.raises(InvalidResource):
            await decoder.decode(part10(image)[:length], uid_of(image))

    async def test_another_instance_is_invalid(self, decoder: ImageDecoder) -> None:
        with pytest.raises(InvalidResource):
            await decoder.decode(part10(radiograph()), uid_of(radiograph()))

    @pytest.mark.parametrize(
        "headers",
        [
            {"Rows": 65535, "Columns": 65535},
            {"NumberOfFrames": 1_000_000},
            {"Rows": 0},
            {"Rows": 7},
            {"PixelData": None},
            {"BitsAllocated": 32},
            {"BitsStored": 17},
            {"HighBit": 15},
            {"PhotometricInterpretation": "RGB"},
            {"PhotometricInterpretation": "PALETTE COLOR"},
        ],
    )
    async def test_headers_that_cannot_be_are_invalid(self, decoder: ImageDecoder, headers: dict[str, object]) -> None:
        image = radiograph(**headers)
        with pytest.raises(InvalidResource):
            await decoder.decode(part10(image), uid_of(image))

    async def test_several_frames_are_unsuitable(self, decoder: ImageDecoder) -> None:
        image = radiograph(np.stack([RAMP, RAMP]), NumberOfFrames=2)
        with pytest.raises(Unsuitable):
            await decoder.decode(part10(image), uid_of(image))

    async def test_no_error_tells_what_the_file_says(self, decoder: ImageDecoder) -> None:
        image = radiograph(PatientName="Secret^Name", PatientID="Secret")
        file = part10(image).replace(b"OW", b"Q?")
        with pytest.raises(InvalidResource) as caught:
            await decoder.decode(file, uid_of(image))
        assert "Secret" not in f"{caught.value!r} {caught.value.__cause__!r}"

    async def test_a_bad_file_harms_no_other(self, decoder: ImageDecoder) -> None:
        image = radiograph()
        broken = io.BytesIO(part10(image)).read(500)
        with pytest.raises(InvalidResource):
            await decoder.decode(broken, uid_of(image))
        np.testing.assert_array_equal((await decoder.decode(part10(image), uid_of(image))).pixels, RAMP)

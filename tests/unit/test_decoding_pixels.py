"""From stored values to "bright is dense", and the rules of spacing."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian

from connectors.decoding_pixels import bright_is_dense, pixel_spacing
from connectors.decoding_worker import decode, stored_pixels
from schemas.errors import InvalidResource, Unsuitable
from tests.contract.example_images import RAMP, part10, radiograph, uid_of


@given(
    bits=st.integers(2, 16),
    signed=st.booleans(),
    noise=arrays.arrays(np.uint16, (4, 5)),
    slope=st.sampled_from([1.0, 2.0, 0.5, -1.0]),
)
def test_monochrome1_is_the_mirror_of_monochrome2(bits: int, signed: bool, noise: Any, slope: float) -> None:
    kind = np.int16 if signed else np.uint16
    common = {"BitsStored": bits, "RescaleSlope": slope, "RescaleIntercept": 10}
    values = {}
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        image = radiograph(noise.view(kind), PhotometricInterpretation=photometric, **common)
        values[photometric] = bright_is_dense(image, stored_pixels(image)).astype(np.float64)
    mirror = values["MONOCHROME1"] + values["MONOCHROME2"]
    assert np.ptp(mirror) <= 0.05
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    assert mirror.flat[0] == pytest.approx(slope * (low + high) + 20)


def test_bits_above_bits_stored_are_no_pixels() -> None:
    """Old files keep an overlay there."""
    overlaid = RAMP | np.uint16(0xF000)
    np.testing.assert_array_equal(stored_pixels(radiograph(overlaid, BitsStored=12)), RAMP)
    negative = np.full((2, 2), 0x0FFF, dtype=np.uint16).view(np.int16)
    np.testing.assert_array_equal(stored_pixels(radiograph(negative, BitsStored=12)), np.full((2, 2), -1))


def test_fifteen_bits_turn_within_fifteen_bits() -> None:
    image = radiograph(RAMP, BitsStored=15, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(bright_is_dense(image, stored_pixels(image)), 32767 - RAMP)


def test_the_digest_is_of_values_not_of_byte_order() -> None:
    little, big = radiograph(RAMP, BitsStored=16), radiograph(RAMP.astype(">u2"), BitsStored=16)
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    file = io.BytesIO()
    dcmwrite(file, big, implicit_vr=False, little_endian=False)
    first = decode(part10(little), uid_of(little), 1_000_000)
    second = decode(file.getvalue(), uid_of(big), 1_000_000)
    np.testing.assert_array_equal(second.pixels, RAMP)
    assert first.pixel_sha256 == second.pixel_sha256


def test_eight_bits() -> None:
    image = radiograph(RAMP.astype(np.uint8), PhotometricInterpretation="MONOCHROME1")
    turned = bright_is_dense(image, stored_pixels(image))
    assert turned.dtype == np.uint16
    np.testing.assert_array_equal(turned, 255 - RAMP.astype(np.uint8).astype(int))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_modality_lut_sequence_is_applied(photometric: str) -> None:
    lut = Dataset()
    lut.LUTDescriptor = [4096, 0, 16]
    entries = (np.arange(4096, dtype=np.uint16) * 3 + 100).astype(np.uint16)
    lut.LUTData = entries.tolist()
    lut.ModalityLUTType = "US"
    image = radiograph(RAMP, PhotometricInterpretation=photometric, ModalityLUTSequence=Sequence([lut]))
    lookup = RAMP.astype(int) * 3 + 100
    expected = lookup if photometric == "MONOCHROME2" else 100 + (4095 * 3 + 100) - lookup
    np.testing.assert_array_equal(bright_is_dense(image, stored_pixels(image)), expected)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (None, None)),
        ({"PixelSpacing": [0.1, 0.2]}, (None, None)),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, ((0.1, 0.2), "detector")),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.1, 0.1]}, ((0.2, 0.2), "detector")),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.1, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"},
            ((0.1, 0.1), "patient"),
        ),
        ({"PixelSpacing": [0.0, 0.0], "PixelSpacingCalibrationType": "GEOMETRY"}, (None, None)),
        ({"ImagerPixelSpacing": [0.2, 0.3], "EstimatedRadiographicMagnificationFactor": 1.25}, ((0.16, 0.24), "patient")),
        ({"ImagerPixelSpacing": [0.2, 0.3], "EstimatedRadiographicMagnificationFactor": 0}, ((0.2, 0.3), "detector")),
        ({"ImagerPixelSpacing": [0.2, 0.3], "EstimatedRadiographicMagnificationFactor": 100}, ((0.2, 0.3), "detector")),
        ({"EstimatedRadiographicMagnificationFactor": 1.25}, (None, None)),
        ({"ImagerPixelSpacing": [0.2, -1]}, (None, None)),
        ({"ImagerPixelSpacing": 0.2}, (None, None)),
    ],
)
def test_pixel_spacing(headers: dict[str, Any], expected: tuple[Any, Any]) -> None:
    spacing, plane = pixel_spacing(radiograph(**headers))
    assert (spacing and pytest.approx(spacing), plane) == expected


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_whatever_bytes_change_the_answer_is_pixels_or_a_named_error(changes: list[tuple[int, int]]) -> None:
    image = radiograph()
    file = bytearray(part10(image))
    for place, value in changes:
        file[place % len(file)] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            decoded = decode(bytes(file), uid_of(image), 1_000_000)
        except (InvalidResource, Unsuitable):
            return
    assert decoded.pixels.ndim == 2
    assert len(decoded.pixel_sha256) == 64

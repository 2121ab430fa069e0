"""Padding and shutters: what they hide neither stretches the grey scale nor is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ImplicitVRLittleEndian

from connectors.decoding_pixels import hidden_pixels
from connectors.decoding_worker import decode, stored_pixels
from schemas.errors import InvalidResource, Unsuitable
from schemas.findings import NotAnalysedReason
from schemas.ports import Radiograph
from tests.contract.example_images import RAMP, part10, radiograph, uid_of

#: rows and columns from 1, as shutters count
ROW, COLUMN = np.mgrid[1:7, 1:9]
RECTANGLE = {
    "ShutterShape": "RECTANGULAR",
    "ShutterLeftVerticalEdge": 2,
    "ShutterRightVerticalEdge": 6,
    "ShutterUpperHorizontalEdge": 3,
    "ShutterLowerHorizontalEdge": 5,
}
IN_RECTANGLE = (COLUMN >= 2) & (COLUMN <= 6) & (ROW >= 3) & (ROW <= 5)
CIRCLE = {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [3, 4], "RadiusOfCircularShutter": 2}
IN_CIRCLE = (ROW - 3) ** 2 + (COLUMN - 4) ** 2 <= 4


def _decoded(pixels: Any = RAMP, **headers: Any) -> Radiograph:
    image = radiograph(pixels, **headers)
    return decode(part10(image), uid_of(image), 1_000_000)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("shutter", "shown"),
    [
        (RECTANGLE, IN_RECTANGLE),
        (CIRCLE, IN_CIRCLE),
        ({**RECTANGLE, **CIRCLE, "ShutterShape": ["RECTANGULAR", "CIRCULAR"]}, IN_RECTANGLE & IN_CIRCLE),
    ],
)
def test_outside_the_shutter_is_as_dark_as_the_darkest_inside(shutter: dict[str, Any], shown: Any, photometric: str) -> None:
    bare, shut = _decoded(PhotometricInterpretation=photometric), _decoded(PhotometricInterpretation=photometric, **shutter)
    np.testing.assert_array_equal(shut.pixels[shown], bare.pixels[shown])
    assert (shut.pixels[~shown] == bare.pixels[shown].min()).all()
    assert shut.pixels.dtype == bare.pixels.dtype
    assert shut.pixel_sha256 == bare.pixel_sha256  # of what is stored


def test_a_polygon() -> None:
    """A triangle and one bent inwards, away from edges: inside is shown, outside hidden."""
    image = radiograph(np.zeros((40, 50), np.uint16))
    image.ShutterShape, image.VerticesOfThePolygonalShutter = "POLYGONAL", [5, 5, 5, 45, 35, 25, 15, 25]
    hidden = hidden_pixels(image, stored_pixels(image))
    assert hidden is not None
    shown = {(row, column): not hidden[row - 1, column - 1] for row in range(1, 41) for column in range(1, 51)}
    assert all(shown[at] for at in [(6, 8), (10, 25), (14, 25), (20, 38 - 8), (6, 42)])
    assert not any(shown[at] for at in [(4, 25), (20, 5), (36, 25), (20, 48), (1, 1), (40, 50), (30, 15)])


@given(
    corners=st.tuples(st.integers(-5, 50), st.integers(-5, 60), st.integers(1, 30), st.integers(1, 30)),
    turned=st.booleans(),
)
def test_a_polygon_of_four_right_angles_is_a_rectangle(corners: tuple[int, int, int, int], turned: bool) -> None:
    upper, left, height, width = corners
    image = radiograph(np.zeros((40, 50), np.uint16))
    vertices = [(upper, left), (upper, left + width), (upper + height, left + width), (upper + height, left)]
    image.ShutterShape = "POLYGONAL"
    image.VerticesOfThePolygonalShutter = [number for vertex in (vertices[::-1] if turned else vertices) for number in vertex]
    hidden = hidden_pixels(image, stored_pixels(image))
    row, column = np.mgrid[1:41, 1:51]
    inside = (row >= upper) & (row < upper + height) & (column >= left) & (column < left + width)
    np.testing.assert_array_equal(hidden, ~inside)


@pytest.mark.parametrize(
    ("padding", "is_padding"),
    [
        ({"PixelPaddingValue": 0}, RAMP == 0),
        ({"PixelPaddingValue": 800, "PixelPaddingRangeLimit": 940}, RAMP >= 800),
        ({"PixelPaddingValue": 940, "PixelPaddingRangeLimit": 800}, RAMP >= 800),
        ({"PixelPaddingValue": 4095}, RAMP > 4000),
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_dark(padding: dict[str, int], is_padding: Any, photometric: str) -> None:
    bare, padded = _decoded(PhotometricInterpretation=photometric), _decoded(PhotometricInterpretation=photometric, **padding)
    np.testing.assert_array_equal(padded.pixels[~is_padding], bare.pixels[~is_padding])
    assert (padded.pixels[is_padding] == bare.pixels[~is_padding].min()).all()


def test_padding_of_signed_values() -> None:
    pixels = RAMP.astype(np.int16) - 100
    pixels[0, 0] = -2000
    padded = _decoded(pixels, PixelPaddingValue=-2000, RescaleSlope=2)
    assert padded.pixels[0, 0] == padded.pixels.min() == 2 * np.delete(pixels.ravel(), 0).min()


def test_padding_of_a_signed_value_that_was_sent_unsigned() -> None:
    image = radiograph(np.full((2, 2), -2000, np.int16))
    image.add_new("PixelPaddingValue", "US", 65536 - 2000)
    hidden = hidden_pixels(image, stored_pixels(image))
    assert hidden is not None and hidden.all()


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_padding_in_implicit_vr(kind: Any) -> None:
    """US or SS: by Pixel Representation."""
    image = radiograph(RAMP.astype(kind), PixelPaddingValue=0, PixelPaddingRangeLimit=100)
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert (decode(part10(image), uid_of(image), 1_000_000).pixels[RAMP <= 100] == 120).all()


def test_nothing_left_is_not_analysed() -> None:
    with pytest.raises(Unsuitable) as caught:
        _decoded(**{**RECTANGLE, "ShutterRightVerticalEdge": 1})
    assert caught.value.code is NotAnalysedReason.NO_IMAGE


@pytest.mark.parametrize(
    "broken",
    [
        {"ShutterShape": "RECTANGULAR"},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": 3, "RadiusOfCircularShutter": 1},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 2, 3]},
    ],
)
def test_a_shutter_that_cannot_be_read_is_invalid(broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidResource):
        _decoded(**broken)


def test_no_shutter_and_no_padding_cost_nothing() -> None:
    image = radiograph(ShutterShape="BITMAP")  # of presentation states
    assert hidden_pixels(image, stored_pixels(image)) is None

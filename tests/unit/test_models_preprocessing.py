"""The canvas and the way back from it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.preprocessing import CANVAS, GreyScale, Placement, to_canvas

sides = st.integers(min_value=1, max_value=5000)
shares = st.floats(min_value=0, max_value=1)


@given(rows=sides, columns=sides, across=shares, down=shares)
def test_image_to_canvas_and_back_is_the_same_place(rows: int, columns: int, across: float, down: float) -> None:
    place = Placement.of(rows, columns)
    x, y = across * columns, down * rows
    assert place.to_image(*place.to_canvas(x, y)) == pytest.approx((x, y), abs=1e-6)


@given(rows=sides, columns=sides)
def test_the_image_lies_wholly_on_the_canvas_and_touches_it_with_its_long_side(rows: int, columns: int) -> None:
    place = Placement.of(rows, columns)
    left, top = place.to_canvas(0, 0)
    right, bottom = place.to_canvas(columns, rows)
    assert left >= 0
    assert top >= 0
    assert right <= CANVAS
    assert bottom <= CANVAS
    assert max(right - left, bottom - top) == CANVAS


@given(rows=st.integers(200, 5000), columns=st.integers(200, 5000))
def test_the_aspect_is_kept_to_a_canvas_pixel(rows: int, columns: int) -> None:
    place = Placement.of(rows, columns)
    scale = CANVAS / max(rows, columns)
    assert abs(place.width - columns * scale) <= 0.5
    assert abs(place.height - rows * scale) <= 0.5


def test_a_bright_spot_arrives_where_the_mapping_says() -> None:
    image = np.random.default_rng(0).random((2000, 1000)).astype(np.float32)
    image[1500:1700, 300:500] = 4000  # 2 % of the film: white is its 99 % quantile
    canvas, place = to_canvas(image)
    bright = (canvas[0, 0] > 1.9).nonzero()
    (left, top), (right, bottom) = place.to_canvas(300, 1500), place.to_canvas(500, 1700)
    assert bright.amin(0).tolist() == pytest.approx([top, left], abs=1.5)
    assert (bright.amax(0) + 1).tolist() == pytest.approx([bottom, right], abs=1.5)


def test_padding_is_black_and_content_spans_the_greys() -> None:
    canvas, place = to_canvas(np.arange(400 * 200, dtype=np.float32).reshape(400, 200))
    assert canvas.shape == (1, 1, CANVAS, CANVAS)
    assert torch.all(canvas[0, 0, :, : place.left] == -2.0)
    content = canvas[0, 0][place.content]
    assert float(content.min()) == -2.0
    assert float(content.max()) == 2.0
    assert float(content.median()) == pytest.approx(0.0, abs=0.02)


@given(scale=st.floats(0.01, 100), shift=st.floats(-1000, 1000))
def test_the_unit_of_the_pixels_does_not_matter(scale: float, shift: float) -> None:
    image = np.random.default_rng(1).random((60, 50)).astype(np.float32) * 100
    expected, _ = to_canvas(image)
    seen, _ = to_canvas((image * scale + shift).astype(np.float32))
    assert torch.allclose(seen, expected, atol=0.05)


def test_another_grey_scale_curve_is_undone_at_the_middle() -> None:
    values = torch.linspace(0, 1, 1001)
    for bend in (0.6, 1.0, 1.6):
        bent = values**bend
        assert float(GreyScale.of(bent).apply(bent).median()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("image", [np.zeros((50, 40)), np.full((50, 40), np.nan)])
def test_an_image_without_contrast_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no contrast"):
        to_canvas(image.astype(np.float32))

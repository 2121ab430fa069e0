"""Heatmap to boxes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.postprocessing import OperatingPoint, boxes, components, score, strength
from models.preprocessing import Placement

POINT = OperatingPoint(threshold=0.6, outline=-1.0, slope=1.0, offset=0.0)
SQUARE = Placement.of(448, 448)


def heatmap(*regions: tuple[slice, slice, float]) -> torch.Tensor:
    logits = torch.full((112, 112), -20.0)
    for rows, columns, value in regions:
        logits[rows, columns] = value
    return logits


def test_a_region_becomes_the_box_of_its_cells() -> None:
    (box,) = boxes(heatmap((slice(10, 15), slice(20, 22), 2.0)), SQUARE, POINT)
    assert (box.left, box.top, box.width, box.height) == (80, 40, 8, 20)
    assert box.probability == pytest.approx(1 / (1 + math.exp(-2 - math.log(10))))  # ten cells, their odds together


def test_boxes_are_in_image_pixels() -> None:
    place = Placement.of(rows=2000, columns=1000)
    (box,) = boxes(heatmap((slice(56, 58), slice(56, 58), 2.0)), place, POINT)
    assert box.left == pytest.approx(500)
    assert box.top == pytest.approx(1000)
    assert (box.width, box.height) == (pytest.approx(8 * 1000 / 224), pytest.approx(8 * 2000 / 448))


def test_the_outline_reaches_below_the_threshold_but_only_round_a_peak() -> None:
    logits = heatmap(
        (slice(10, 20), slice(10, 20), -0.5), (slice(14, 15), slice(14, 15), 3.0), (slice(60, 61), slice(60, 61), -0.5)
    )
    (box,) = boxes(logits, SQUARE, POINT)
    assert (box.left, box.top, box.width, box.height) == (40, 40, 40, 40)


def test_an_image_that_alarms_always_shows_where() -> None:
    logits = heatmap((slice(0, 112), slice(0, 112), -4.0), (slice(5, 6), slice(5, 6), -2.0))
    (box,) = boxes(logits, SQUARE, POINT)
    assert box.probability < POINT.threshold < score(logits, SQUARE, POINT)
    assert (box.left, box.top, box.width, box.height) == (20, 20, 4, 4)


def test_strength_is_that_of_the_odds_together() -> None:
    assert strength(torch.tensor([0.0, 0.0])) == pytest.approx(math.log(2))
    assert strength(torch.tensor([9.0, -9.0])) == pytest.approx(9, abs=1e-6)


def test_most_probable_first_and_diagonal_neighbours_are_one() -> None:
    logits = heatmap((slice(5, 6), slice(5, 6), 1.0), (slice(6, 7), slice(6, 7), 1.0), (slice(50, 52), slice(50, 52), 4.0))
    first, second = boxes(logits, SQUARE, POINT)
    assert first.left == 200
    assert (second.left, second.width) == (20, 8)


def test_what_lies_on_the_padding_counts_for_nothing() -> None:
    place = Placement.of(rows=400, columns=200)
    logits = heatmap((slice(50, 60), slice(2, 6), 9.0))
    assert boxes(logits, place, POINT) == []
    assert score(logits, place, POINT) == pytest.approx(112 * 56 * math.exp(-20), rel=1e-3)


@given(
    rows=st.integers(1, 3000),
    columns=st.integers(1, 3000),
    seed=st.integers(0, 1000),
)
def test_every_box_lies_inside_the_image_and_the_score_is_the_best_box(rows: int, columns: int, seed: int) -> None:
    place = Placement.of(rows, columns)
    logits = torch.randn(112, 112, generator=torch.Generator().manual_seed(seed)) * 2 - 9
    found = boxes(logits, place, POINT)
    for box in found:
        assert box.left >= 0
        assert box.top >= 0
        assert box.width > 0
        assert box.height > 0
        assert box.left + box.width <= columns * (1 + 1e-9)
        assert box.top + box.height <= rows * (1 + 1e-9)
    highest = score(logits, place, POINT)
    assert (highest >= POINT.threshold) == bool(found)
    if found:
        assert found[0].probability <= highest
        assert all(box.probability >= POINT.threshold for box in found[1:])


def test_components_follow_a_spiral() -> None:
    mask = torch.ones(9, 9, dtype=torch.bool)
    mask[1, :8] = mask[1:8, 7] = mask[7, 1:8] = mask[3:8, 1] = False
    mask[3, 1:6] = mask[3:6, 5] = False
    outer, inner = components(mask)[0, 0], components(mask)[4, 3]
    assert outer == inner
    mask[2, 0] = mask[2, 1] = False
    mask[2, 2] = False
    labels = components(mask)
    assert labels[0, 0] == labels[8, 8]
    assert (labels > 0).equal(mask)


@pytest.mark.parametrize("logit", [-1000.0, -5.0, 0.0, 5.0, 1000.0])
def test_probability_never_overflows(logit: float) -> None:
    assert 0 <= POINT.probability(logit) <= 1

"""The training method: splits and insertion. On drawn films; tests/service/test_first_model.py has the real ones."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.preprocessing import CANVAS, GreyScale, Placement, resize, to_canvas
from models.registry import self_test_image
from models.training.films import Film, diseased_split_of, lung_fields, split_of
from models.training.insertion import Insertion, View, render, vary


@pytest.fixture(scope="module")
def film() -> Film:
    return Film.of(_drawn())


def _drawn() -> np.ndarray:
    place = Placement.of(600, 500)
    canvas, _ = to_canvas(self_test_image())
    return ((canvas[0, 0][place.content].numpy() / 4 + 0.5) * 255).astype(np.float32)


def ball(diameter: int = 20) -> np.ndarray:
    y, x = np.mgrid[0:50, 0:50] - 24.5
    return (2 * np.sqrt(np.clip((diameter / 2) ** 2 - x**2 - y**2, 0, None))).astype(np.float32)


def nodule(**changes: float) -> Insertion:
    plain = {
        "diameter_mm": 20,
        "x": 140,
        "y": 200,
        "factor": 1.0,
        "turn": 0.0,
        "mirrored": False,
        "enhancement": 2.0,
        "faintest": 0.0,
    }
    return Insertion(excess=ball(), **(plain | changes))  # type: ignore[arg-type]


@given(st.text(min_size=1))
def test_a_patient_is_always_in_the_same_split(patient: str) -> None:
    assert split_of(patient) == split_of(patient)


def test_splits_have_their_shares_and_never_move() -> None:
    several = [split_of(str(n)) for n in range(10_000)]
    assert [several.count(s) / 10_000 for s in ("train", "validation", "test")] == pytest.approx([0.6, 0.15, 0.25], abs=0.02)
    assert (split_of("1280"), split_of("1283")) == ("train", "test")
    diseased = [diseased_split_of(str(n)) for n in range(10_000)]
    assert diseased.count("validation") / 10_000 == pytest.approx(0.5, abs=0.02)
    assert "train" not in diseased


def test_lung_fields_are_dark_and_on_both_sides() -> None:
    film = torch.from_numpy(_drawn())
    linear = (film - film.min()) / (film.max() - film.min())
    lungs = lung_fields(linear)
    assert float(linear[lungs].mean()) < float(linear[~lungs].mean()) - 0.2
    half = lungs.shape[1] // 2
    assert 0.05 < float(lungs[:, :half].float().mean()) < 0.6
    assert 0.05 < float(lungs[:, half:].float().mean()) < 0.6


def test_a_nodule_adds_density_where_it_is_put_and_nowhere_else(film: Film) -> None:
    greys, share = render([film, film], [[], [nodule()]], [View(), View()], CANVAS)
    added = (greys[1] - greys[0])[0]
    y, x = (int(v) for v in divmod(int(added.argmax()), CANVAS))
    assert abs(x - 140) <= 3
    assert abs(y - 200) <= 3
    assert float(added.min()) >= 0
    outside = torch.ones(CANVAS, CANVAS, dtype=torch.bool)
    outside[185:216, 125:156] = False
    assert float(added[outside].abs().max()) == 0
    cells = share[1, 0].nonzero()
    assert cells.float().mean(0).tolist() == pytest.approx([200 / 4 - 0.5, 140 / 4 - 0.5], abs=0.6)
    assert float(share[0].max()) == 0


def test_added_grey_is_proportional_to_path_and_enhancement(film: Film) -> None:
    once, twice = (nodule(enhancement=e).contrast(film) for e in (1.0, 2.0))
    assert twice == pytest.approx(2 * once)
    path = 60 * math.tanh(float(ball().max()) / 60)
    assert float(once.max()) == pytest.approx(path * (film.dense_level - film.lung_level) / 110, rel=1e-5)


def test_a_larger_factor_makes_it_wider_and_thicker(film: Film) -> None:
    small, large = (render([film], [[nodule(factor=f)]], [View()], CANVAS)[1].sum() for f in (1.0, 2.0))
    assert float(large / small) == pytest.approx(4, rel=0.15)
    assert nodule(factor=2.0).contrast(film).max() > 1.5 * nodule().contrast(film).max()


def test_the_target_moves_with_the_view(film: Film) -> None:
    turned = View(x=140, y=200, zoom=1.2, turn=0.3, mirrored=True)
    _, share = render([film], [[nodule()]], [turned], 192)
    centre = share[0, 0].nonzero().float().mean(0)
    assert centre.tolist() == pytest.approx([23.5, 23.5], abs=0.6)


def test_a_film_is_squeezed_as_it_is_published(film: Film) -> None:
    """Of a portrait film the square picture shows the same places, further apart across."""
    tall = _drawn()
    rows, columns = tall.shape
    assert film.squeeze == (CANVAS / columns, 1.0) and rows == CANVAS > columns
    greys, _ = render([film], [[]], [View(stretch=film.squeeze)], CANVAS)
    published = GreyScale.of(torch.from_numpy(tall)).linear(resize(tall, CANVAS, CANVAS))
    inside = (slice(20, -20), slice(20, -20))
    assert float((greys[0, 0][inside] - published[inside]).abs().mean()) < 0.01


def test_variation_keeps_the_range(film: Film) -> None:
    greys, _ = render([film], [[]], [View()], CANVAS)
    varied = vary(np.random.default_rng(1), greys, [film.exponent])
    assert bool(torch.isfinite(varied).all())
    assert -2.4 <= float(varied.min()) <= float(varied.max()) <= 2.4

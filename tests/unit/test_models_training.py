"""The training method: splits, insertion, figures. On drawn films; tests/service/test_first_model.py has the real ones."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.postprocessing import Box, OperatingPoint
from models.preprocessing import CANVAS, Placement, to_canvas
from models.registry import self_test_image
from models.training.evaluate import Reading, area_under_curve, bootstrap, located, measure
from models.training.films import Film, Nodules, lung_fields, split_of
from models.training.insertion import Insertion, View, render, vary
from models.training.package import ALLOWED_ALARMS, calibrate, operating_point
from models.training.pairs import Pair
from models.training.train import draw, loss_of


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


def test_the_same_seed_draws_the_same_batch(film: Film) -> None:
    nodules = Nodules(np.stack([ball(d) for d in (8, 15, 30)]), np.array([8, 15, 30], dtype=np.float32))
    first, again = (draw(np.random.default_rng(5), [film], nodules, 192, 4, 1.0, 0.03, True) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert first[0].shape == (4, 1, 192, 192)
    assert first[1].shape == (4, 1, 48, 48)
    assert float(first[1][1].max()) == 0


def test_variation_keeps_the_range(film: Film) -> None:
    greys, _ = render([film], [[]], [View()], CANVAS)
    varied = vary(np.random.default_rng(1), greys, [film.exponent])
    assert bool(torch.isfinite(varied).all())
    assert -2.4 <= float(varied.min()) <= float(varied.max()) <= 2.4


@pytest.mark.parametrize("paired", [False, True])
def test_the_loss_prefers_the_truth(paired: bool) -> None:
    target = torch.zeros(2, 1, 48, 48)
    target[0, 0, 10:14, 10:14] = 1
    right, elsewhere = target * 12 - 6, target.roll(20, 3) * 12 - 6
    assert float(loss_of(right, target, paired)) < 0.3
    assert float(loss_of(elsewhere, target, paired)) > float(loss_of(right, target, paired)) + 1


@pytest.mark.parametrize(
    ("box", "counts"),
    [
        (Box(10, 10, 20, 20, 0.9), True),
        (Box(17, 17, 6, 6, 0.9), True),
        (Box(0, 0, 9, 9, 0.9), False),
        (Box(0, 0, 300, 300, 0.9), False),
        (Box(-20, -20, 80, 80, 0.9), False),
    ],
)
def test_located(box: Box, counts: bool) -> None:
    assert located([box], (10, 10, 30, 30)) == counts


def test_area_under_curve_counts_ties_half() -> None:
    assert area_under_curve(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == pytest.approx(3.5 / 4)


def test_the_interval_holds_the_mean_and_widens_with_groups() -> None:
    values = np.random.default_rng(0).random(200)
    many, few = np.array([str(n) for n in range(200)]), np.array([str(n % 5) for n in range(200)])
    low, high = bootstrap(many, lambda rows: float(values[rows].mean()), 1)
    assert low < values.mean() < high
    assert 0.05 < high - low < 0.12
    assert bootstrap(few, lambda rows: float(values[rows].mean()), 1) != (low, high)


def test_calibration_finds_the_curve_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    holds = rng.random(20_000) < 1 / (1 + np.exp(-(1.5 * logits - 0.7)))
    assert calibrate(logits[~holds], logits[holds]) == pytest.approx((1.5, -0.7), abs=0.1)


def _reading(patient: str, without: float, with_nodule: float) -> Reading:
    place = Placement.of(448, 448)
    empty, held = torch.full((112, 112), -9.0), torch.full((112, 112), -9.0)
    empty[80, 80] = without
    held[80, 80] = without
    held[20:24, 20:24] = with_nodule
    blank = np.zeros((448, 448), np.float32)
    return Reading(Pair(patient, patient, blank, blank, (80, 80, 96, 96), 15 + 10 * (int(patient) % 2)), empty, held, place)


def test_the_threshold_lets_at_most_a_tenth_of_the_normal_films_alarm() -> None:
    rng = np.random.default_rng(3)
    several = [_reading(str(n), *rng.normal([-2, -3], 1)) for n in range(90)]
    point = operating_point(several)
    measures = measure(several, point, 1)
    assert 1 - ALLOWED_ALARMS <= measures.specificity < 1 - ALLOWED_ALARMS + 0.03
    assert measures.share_higher == pytest.approx(np.mean([r.strengths()[1] > r.strengths()[0] for r in several]))
    assert measures.sensitivity_of_localisation > 0.2


def test_measures_of_a_blind_model_are_those_of_chance() -> None:
    several = [_reading(str(n), 1.0, -9.0) for n in range(20)]
    measures = measure(several, OperatingPoint(0.9, 0.0, 1.0, 0.0), 1)
    assert measures.share_higher == 0
    assert measures.area_under_curve == 0.5
    assert measures.sensitivity_of_localisation == 0

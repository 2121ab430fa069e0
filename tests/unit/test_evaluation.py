"""The figures of `models.evaluation`, against values worked out by hand and against their definitions written out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.bootstrap import interval
from models.evaluation.calibration import Bin, expected_calibration_error, reliability
from models.evaluation.films import Films, age_band, by_group, film_figures
from models.evaluation.froc import Boxes, Matching, froc, froc_points, hits, match, sensitivity_at
from models.evaluation.roc import area_under_curve, roc_points, sensitivity, specificity

SCORES = np.array([0.1, 0.4, 0.35, 0.8])
LABELS = np.array([False, False, True, True])


# ------------------------------------------------------------------------------------------------------------------ ROC


def test_area_under_curve_by_hand() -> None:
    # couples: 0.35 > 0.1, 0.35 < 0.4, 0.8 > 0.1, 0.8 > 0.4
    assert area_under_curve(SCORES, LABELS) == 0.75
    assert area_under_curve(np.array([0.0, 1.0, 1.0, 2.0]), LABELS) == 3.5 / 4


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_area_under_curve_is_the_share_of_couples(several: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([float(s) for s, _ in several]), np.array([y for _, y in several])
    couples = [(p > n) + 0.5 * (p == n) for p in scores[labels] for n in scores[~labels]]
    area = area_under_curve(scores, labels)
    assert area == pytest.approx(np.mean(couples)) if couples else math.isnan(area)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_the_roc_points_span_that_area(several: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([float(s) for s, _ in several]), np.array([y for _, y in several])
    if labels.all() or not labels.any():
        with pytest.raises(ValueError, match="positive and negative"):
            roc_points(scores, labels)
        return
    points = roc_points(scores, labels)
    x, y = [p.false_positive_rate for p in points], [p.sensitivity for p in points]
    assert np.trapezoid(y, x) == pytest.approx(area_under_curve(scores, labels))
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    for point in points[1:]:
        assert point.sensitivity == pytest.approx(sensitivity(scores, labels, point.threshold))
        assert point.false_positive_rate == pytest.approx(1 - specificity(scores, labels, point.threshold))


def test_roc_points_by_hand() -> None:
    points = [(p.threshold, p.sensitivity, p.false_positive_rate) for p in roc_points(SCORES, LABELS)]
    assert points == [(math.inf, 0, 0), (0.8, 0.5, 0), (0.4, 0.5, 0.5), (0.35, 1, 0.5), (0.1, 1, 1)]


def test_the_threshold_itself_alarms() -> None:
    assert (sensitivity(SCORES, LABELS, 0.4), specificity(SCORES, LABELS, 0.4)) == (0.5, 0.5)
    assert math.isnan(sensitivity(SCORES[:2], LABELS[:2], 0.4))
    assert math.isnan(specificity(SCORES[2:], LABELS[2:], 0.4))


# ------------------------------------------------------------------------------------------------------------ intervals


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(0).normal(0, 1, 400)
    found = interval(np.arange(400), lambda rows: float(values[rows].mean()), seed=1, draws=4000)
    assert found is not None
    half = 1.96 * values.std() / math.sqrt(400)
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.012)


def test_films_of_one_patient_say_it_once() -> None:
    values = np.repeat(np.random.default_rng(0).normal(0, 1, 50), 8)
    whose = np.repeat(np.arange(50), 8)
    apart = interval(np.arange(400), lambda rows: float(values[rows].mean()), seed=1)
    together = interval(whose, lambda rows: float(values[rows].mean()), seed=1)
    assert apart is not None and together is not None
    assert (together[1] - together[0]) / (apart[1] - apart[0]) == pytest.approx(math.sqrt(8), rel=0.15)


def test_names_of_patients_do_not_matter_and_the_seed_does() -> None:
    values = np.arange(6.0)
    names = np.array(["b", "b", "a", "c", "a", "d"])

    def mean(rows: np.ndarray) -> float:
        return float(values[rows].mean())

    assert interval(names, mean, 1) == interval(names, mean, 1)
    assert interval(names, mean, 1, draws=20) != interval(names, mean, 2, draws=20)


def test_an_interval_that_cannot_be_told_is_none() -> None:
    assert interval(np.array(["a", "a"]), lambda rows: 1.0, 1) is None
    assert interval(np.array([]), lambda rows: 1.0, 1) is None
    assert interval(np.array(["a", "b"]), lambda rows: math.nan, 1) is None
    # one of two patients: half of the draws hold both, a quarter the first alone
    values = interval(np.array(["a", "b"]), lambda rows: 1.0 if 0 in rows else math.nan, 1)
    assert values == (1.0, 1.0)


# ----------------------------------------------------------------------------------------------------------------- FROC


@pytest.mark.parametrize(
    ("box", "counts"),
    [
        ((10, 10, 30, 30), True),
        ((17, 17, 23, 23), True),
        # centred, nine times as large; and larger
        ((-10, -10, 50, 50), True),
        ((-11, -11, 51, 51), False),
        # centre outside: 15 x 20 common of 500
        ((15, 10, 35, 30), True),
        ((27, 10, 47, 30), False),
        ((21, 10, 61, 30), False),
        ((0, 0, 9, 9), False),
    ],
)
def test_hits(box: tuple[int, ...], counts: bool) -> None:
    assert hits(np.array([box], dtype=float), np.array([10.0, 10, 30, 30])).tolist() == [counts]


def boxes(*several: tuple[int, float, float]) -> Boxes:
    """(image, left, score): squares of 10, at the top."""
    edges = [(left, 0.0, left + 10, 10.0) for _, left, _ in several]
    return Boxes(np.array([i for i, _, _ in several]), np.array(edges).reshape(-1, 4), np.array([s for _, _, s in several]))


#: three lesions on images 0, 0 and 1; image 2 has none
LESIONS = boxes((0, 0, 1), (0, 100, 1), (1, 50, 1))
FOUND = boxes((0, 1, 0.9), (0, 2, 0.5), (0, 200, 0.7), (1, 50, 0.4), (1, 100, 0.6), (2, 50, 0.3))


def test_boxes_are_matched_within_their_image() -> None:
    matching = match(FOUND, LESIONS)
    assert matching.lesions.tolist() == [0.9, -math.inf, 0.4]
    # the second box on the first lesion is no false positive
    assert matching.false.tolist() == [0.7, 0.6, 0.3]
    assert matching.false_images.tolist() == [0, 1, 2]


def test_froc_by_hand() -> None:
    matching = match(FOUND, LESIONS)
    # 3 images: 0 false ones (0.9 alone is above 0.7), 1 (above 0.6), 2 (above 0.3: 0.4 too), 3
    assert froc(matching, 3, (0.1, 1 / 3, 2 / 3, 1.0)) == {0.1: 1 / 3, 1 / 3: 1 / 3, 2 / 3: 2 / 3, 1.0: 2 / 3}
    points = {p.threshold: (p.sensitivity, p.false_positives_per_image) for p in froc_points(matching, 3)}
    assert points[0.9] == (1 / 3, 0)
    assert points[0.4] == pytest.approx((2 / 3, 2 / 3))
    assert points[0.3] == pytest.approx((2 / 3, 1))


def test_as_many_equal_scores_as_are_too_many_are_all_left_out() -> None:
    matching = Matching(np.array([0.5, 0.6]), np.array([0, 1]), np.array([0.5, 0.5, 0.5]), np.array([0, 1, 1]))
    assert sensitivity_at(matching, 2, 1.0) == 0.5


def test_what_nothing_was_found_on_is_missed_at_any_rate() -> None:
    nothing = boxes()
    assert froc(match(nothing, LESIONS), 3, (8.0,)) == {8.0: 0}
    assert math.isnan(sensitivity_at(match(FOUND, nothing), 3, 1.0))
    assert len(match(FOUND, nothing).false) == len(FOUND.image)
    with pytest.raises(ValueError, match="lesions"):
        froc_points(match(FOUND, nothing), 3)
    with pytest.raises(ValueError, match="scores"):
        match(Boxes(LESIONS.image, LESIONS.edges), LESIONS)


# ---------------------------------------------------------------------------------------------------------- calibration


def test_reliability_by_hand() -> None:
    said = np.array([0.1, 0.1, 0.9, 1.0, 0.5])
    true = np.array([False, True, True, True, False])
    assert reliability(said, true, 2) == [Bin(0.0, 0.5, 2, 0.1, 0.5), Bin(0.5, 1.0, 3, pytest.approx(0.8), pytest.approx(2 / 3))]
    assert expected_calibration_error(said, true, 2) == pytest.approx((2 * 0.4 + 3 * (0.8 - 2 / 3)) / 5)


def test_honest_probabilities_have_hardly_any_error_and_bold_ones_much() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(50_000)
    true = rng.random(50_000) < said
    assert expected_calibration_error(said, true) < 0.01
    assert expected_calibration_error(said**0.25, true) > 0.2


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        reliability(np.array([1.2]), np.array([True]))
    with pytest.raises(ValueError, match="0 to 1"):
        reliability(np.array([math.nan]), np.array([True]))
    assert math.isnan(expected_calibration_error(np.array([]), np.array([], dtype=bool)))


# --------------------------------------------------------------------------------------------------------------- groups


@pytest.mark.parametrize(
    ("age", "band"),
    [(0, "under 18"), (17.9, "under 18"), (18, "18-39"), (40, "40-59"), (79, "60-79"), (80, "80 and over"), (None, "unknown")],
)
def test_age_bands(age: float | None, band: str) -> None:
    assert age_band(age) == band


def test_the_figures_of_films_and_of_their_groups() -> None:
    films = Films(SCORES, LABELS, np.array(["a", "b", "c", "d"]))
    figures = film_figures(films, 0.4, seed=1)
    assert figures.area_under_curve.interval is None, "two positive patients tell no interval"
    many = film_figures(Films(np.tile(SCORES, 5), np.tile(LABELS, 5), np.arange(20)), 0.4, seed=1)
    assert (figures.films, figures.positives, figures.patients, figures.threshold) == (4, 2, 4, 0.4)
    assert figures.area_under_curve.value == 0.75
    assert (figures.sensitivity.value, figures.specificity.value) == (0.5, 0.5)
    low, high = many.area_under_curve.interval or (9, 9)
    assert 0 <= low <= 0.75 <= high <= 1
    groups = dict(by_group(films, np.array(["PA", "AP", "PA", "PA"]), 0.4, seed=1))
    assert list(groups) == ["AP", "PA"]
    assert groups["PA"].area_under_curve.value == 1
    assert (groups["AP"].area_under_curve.value, groups["AP"].sensitivity.value) == (None, None)
    assert groups["AP"].specificity.value == 0


@pytest.mark.parametrize(("positives", "told"), [(4, False), (5, True)])
def test_an_interval_needs_five_patients_of_each_kind(positives: int, told: bool) -> None:
    scores = np.concatenate([np.linspace(0.3, 0.9, positives), np.linspace(0.1, 0.8, 9)])
    labels = np.arange(len(scores)) < positives
    figures = film_figures(Films(scores, labels, np.arange(len(scores))), 0.5, seed=1)
    assert (figures.area_under_curve.interval is not None) is told
    assert (figures.sensitivity.interval is not None) is told
    assert figures.specificity.interval is not None


def test_an_interval_in_which_all_draws_agree_is_none() -> None:
    labels = np.arange(12) < 6
    figures = film_figures(Films(np.where(labels, 0.9, 0.1), labels, np.arange(12)), 0.5, seed=1)
    assert (figures.area_under_curve.value, figures.sensitivity.value) == (1, 1)
    assert (figures.area_under_curve.interval, figures.sensitivity.interval) == (None, None)

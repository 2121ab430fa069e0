"""How far two models agree, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from streams.shadows.agreement import Box, Spread, Table, agreement, histogram, kappa, matches, spread


def tables(both: int, in_use_only: int, candidate_only: int, neither: int) -> list[Table]:
    """One study each."""
    return (
        [Table(both=1)] * both
        + [Table(in_use_only=1)] * in_use_only
        + [Table(candidate_only=1)] * candidate_only
        + [Table(neither=1)] * neither
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (Table(20, 5, 10, 15), 0.4),  # observed 35/50 = 0.7; by chance (25 x 30 + 25 x 20) / 2500 = 0.5
        (Table(10, 0, 0, 10), 1.0),
        (Table(0, 10, 10, 0), -1.0),
        (Table(25, 25, 25, 25), 0.0),
        (Table(45, 15, 25, 15), (0.60 - 0.54) / (1 - 0.54)),  # by chance 0.60 x 0.70 + 0.40 x 0.30 = 0.54
        (Table(9, 0, 0, 0), None),
        (Table(0, 0, 0, 9), None),
        (Table(), None),
    ],
)
def test_kappa(table: Table, expected: float | None) -> None:
    assert kappa(table) == (None if expected is None else pytest.approx(expected))


def test_the_interval_is_that_of_the_large_sample_formula() -> None:
    """Fleiss, Cohen and Everitt 1969: standard error 0.1270 for 20, 5, 10, 15."""
    found = agreement(tables(20, 5, 10, 15))
    assert found.table == Table(20, 5, 10, 15)
    assert found.kappa == pytest.approx(0.4)
    assert found.interval == pytest.approx((0.4 - 1.96 * 0.127, 0.4 + 1.96 * 0.127), abs=0.04)
    assert found == agreement(tables(20, 5, 10, 15)), "the same, however often it is asked"


def test_states_of_one_study_are_no_new_evidence() -> None:
    apart = agreement(tables(20, 5, 10, 15))
    together = agreement([table.plus(table).plus(table).plus(table) for table in tables(5, 1, 2, 4)])
    spread_out = agreement([table for table in tables(5, 1, 2, 4) for _ in range(4)])
    assert apart.interval and together.interval and spread_out.interval
    assert together.table == spread_out.table
    wide, narrow = (high - low for low, high in (together.interval, spread_out.interval))
    assert wide == pytest.approx(2 * narrow, rel=0.25), "a quarter of the studies: twice as wide"


@pytest.mark.parametrize("studies", [[], tables(1, 0, 0, 0), tables(5, 0, 0, 0), tables(100, 1, 0, 0)[:1] * 2])
def test_without_an_interval(studies: list[Table]) -> None:
    assert agreement(studies).interval is None


def box(left: float, top: float, width: float, height: float, image: str = "1.2") -> Box:
    return Box(image, left, top, width, height)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (box(0, 0, 10, 10), box(0, 0, 10, 10), True),
        (box(0, 0, 30, 10), box(20, 0, 30, 10), True),  # 100 of 500 in common: exactly 0.2
        (box(0, 0, 30, 10), box(20.1, 0, 30, 10), False),
        (box(0, 0, 100, 100), box(10, 10, 4, 4), True),  # 16 of 10,000, but its centre is inside
        (box(10, 10, 4, 4), box(0, 0, 100, 100), True),
        (box(0, 0, 10, 10), box(10, 0, 10, 10), False),  # they touch
        (box(0, 0, 10, 10), box(0, 0, 10, 10, "1.3"), False),
    ],
)
def test_of_one_finding(one: Box, other: Box, expected: bool) -> None:
    assert matches([one], [other]) == ([(one, other)] if expected else [])


def test_each_box_is_matched_once_and_what_shares_most_comes_first() -> None:
    wide, near, same = box(0, 0, 20, 10), box(0, 0, 14, 10), box(0, 0, 20, 10)
    assert matches([wide], [near, same]) == [(wide, same)]
    assert matches([near, wide], [same]) == [(wide, same)]
    far = box(100, 100, 5, 5)
    assert matches([far, near], [same, far]) == [(far, far), (near, same)]
    assert matches([], [same]) == matches([same], []) == []


def test_the_spread_of_a_difference() -> None:
    assert spread([]) is None
    assert spread([0.25]) == Spread(1, 0.25, 0.25, 0.25, 0.25)
    # 21 values from -1 to 1: the 5th percentile is the second, the 95th the last but one
    values = [number / 10 for number in range(-10, 11)]
    assert spread(values[::-1]) == Spread(21, 0.0, 0.0, -0.9, 0.9)
    few = spread([0.0, 0.0, 0.0, 1.0])
    assert few is not None
    assert few.mean == 0.25
    assert few.percentile_95 == pytest.approx(0.85)  # 0.95 x 3 = 2.85: between the third and the fourth


def test_ten_bins() -> None:
    assert histogram([]) == (0,) * 10
    assert histogram([0.0, 0.09, 0.1, 0.55, 0.9, 1.0]) == (2, 1, 0, 0, 0, 1, 0, 0, 0, 2)

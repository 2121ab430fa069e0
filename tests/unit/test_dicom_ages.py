from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dicom import age_in_years


@pytest.mark.parametrize(
    ("age", "birth_date", "study_date", "years"),
    [
        ("081Y", None, None, 81),
        ("017M", None, None, 1),
        ("051W", None, None, 0),
        ("053W", None, None, 1),
        ("364D", None, None, 0),
        ("047Y", "20200101", "20260101", 47),
        ("81", "19450101", "20260101", 81),  # shared data: no AS without its unit
        ("999Y", "19450101", "20260101", 81),
        (None, "19700102", "20260101", 55),
        (None, "19700101", "20260101", 56),
        (None, "20040229", "20220228", 17),
        (None, "18000101", "20080504", None),  # pydicom's chrJapMulti
        (None, "d14a028c2a3a2bc9", "20080504", None),  # pylibjpeg-data's 966_fixed
        (None, "20200101", "20190101", None),
        (None, "20200230", "20250101", None),
        (None, "19700101", None, None),
        (None, None, None, None),
        ("٠٤٧Y", None, None, None),
    ],
)
def test_age_in_completed_years(age: str | None, birth_date: str | None, study_date: str | None, years: int | None) -> None:
    assert age_in_years(age, birth_date, study_date) == years


@given(st.dates(date(1900, 1, 1), date(2020, 1, 1)), st.integers(0, 120 * 365))
def test_a_day_later_nobody_is_younger_and_at_most_a_year_older(born: date, days: int) -> None:
    then = born + timedelta(days=days)
    ages = [age_in_years(None, f"{born:%Y%m%d}", f"{day:%Y%m%d}") for day in (then, then + timedelta(days=1))]
    assert ages[0] is not None and ages[1] is not None
    assert ages[1] - ages[0] in (0, 1)


@given(st.text(), st.text(), st.text())
def test_any_text_is_an_age_or_none(age: str, birth_date: str, study_date: str) -> None:
    years = age_in_years(age, birth_date, study_date)
    assert years is None or 0 <= years <= 130

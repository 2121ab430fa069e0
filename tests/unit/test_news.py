"""Which studies are news, by what is known of them alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.case_store import StudyState
from schemas.study_events import StudyCompleted
from streams.case_state import current
from streams.news import Lane, days_old, lane_of
from streams.study_settings import NewsSettings
from tests.unit.cases import gone, minutes, study

TODAY = minutes(0).date()
WEEK = NewsSettings(age_limit_days=7, bulk_ae_titles=("PRIORS", "MIGRATION"), ignored_ae_titles=("RESEARCH",))


def taken(days_ago: int, **more: object) -> StudyCompleted:
    return study(taken=TODAY - timedelta(days=days_ago), **more)  # type: ignore[arg-type]


def lane(*events: StudyCompleted, news: NewsSettings = WEEK) -> Lane:
    state = StudyState(events)
    return lane_of(state, current(state), news)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (study(), Lane.NEWS),
        (taken(0), Lane.NEWS),
        (taken(7), Lane.NEWS),
        (taken(8), Lane.BULK),
        (taken(40_000), Lane.BULK),
        (taken(-3), Lane.NEWS),
        (study(sent_by="CR1"), Lane.NEWS),
        (study(sent_by="PRIORS"), Lane.BULK),
        (study(sent_by=" MIGRATION "), Lane.BULK),
        (study(sent_by="priors"), Lane.NEWS),
        (study(sent_by="RESEARCH"), Lane.IGNORED),
        (taken(99, sent_by="RESEARCH"), Lane.IGNORED),
    ],
)
def test_one_event(event: StudyCompleted, expected: Lane) -> None:
    assert lane(event) is expected
    assert lane(event, news=NewsSettings()) is Lane.NEWS


def test_older_ones_may_be_ignored() -> None:
    assert lane(taken(8), news=NewsSettings(age_limit_days=7, older="ignore")) is Lane.IGNORED


def test_whoever_ever_sent_it_counts() -> None:
    assert lane(study(sent_by="RESEARCH"), study(at=1), study(at=2, sent_by="PRIORS")) is Lane.IGNORED
    assert lane(study(sent_by="PRIORS"), study(at=1, source="qido")) is Lane.BULK


def test_a_study_that_is_noticed_again_is_not_older() -> None:
    assert lane(taken(5), taken(5, at=30 * 24 * 60)) is Lane.NEWS


def test_a_corrected_study_date_counts() -> None:
    assert lane(taken(99), taken(0, at=1)) is Lane.NEWS


def test_a_study_that_is_gone_is_as_old_as_it_was() -> None:
    assert lane(taken(99), gone(at=1)) is Lane.BULK


@given(st.permutations([taken(9, at=at, source=source) for at in (0, 3 * 24 * 60) for source in ("qido", "webhook")]))
def test_the_order_of_arrival_does_not_count(events: list[StudyCompleted]) -> None:
    state = StudyState(tuple(events))
    assert days_old(state, current(state)) == 9

"""Which studies are news: a pure rule over what is known of a study. Of the others no receiver is told."""

from __future__ import annotations

from datetime import UTC, timedelta
from enum import StrEnum

from schemas.case_store import StudyState
from schemas.study_events import StudyCompleted
from streams.study_settings import NewsSettings

#: in which studies without an order are counted
FLOOD = timedelta(hours=1)


class Lane(StrEnum):
    """What becomes of a study: receivers are told; it is analysed when nothing else waits, and nobody is told; nothing."""

    NEWS = "news"
    BULK = "bulk"
    IGNORED = "ignored"


def lane_of(state: StudyState, study: StudyCompleted, news: NewsSettings) -> Lane:
    """As far as the study itself says; `study`: its current event. Spaces around an AE title mean nothing (PS3.5 6.2)."""
    titles = {event.source_ae_title.strip(" ") for event in state.events if event.source_ae_title}
    if titles.intersection(news.ignored_ae_titles):
        return Lane.IGNORED
    if titles.intersection(news.bulk_ae_titles):
        return Lane.BULK
    if news.age_limit_days is not None and days_old(state, study) > news.age_limit_days:
        return Lane.BULK if news.older == "bulk" else Lane.IGNORED
    return Lane.NEWS


def days_old(state: StudyState, study: StudyCompleted) -> int:
    """From Study Date to the first notice of it, by the events' own times (UTC): a study that is noticed again is not older.
    0 where no Study Date is known."""
    if study.study_date is None:
        return 0
    return (min(event.time for event in state.events).astimezone(UTC).date() - study.study_date).days

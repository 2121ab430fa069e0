"""How long a replay takes, from what the last analyses took."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from schemas.events import FINDINGS_TYPE
from schemas.history import Span
from schemas.ports import Headers, Place, Record
from streams import topics
from streams.replay.estimating import seconds_of, seconds_per_analysis
from streams.replay.plan import Part, Plan
from streams.replay.selection import Selection
from tests.contract.fake_event_log import START, FakeEventLog
from tests.contract.fake_history import FakeHistory


def engine(*analyses: tuple[float, float]) -> tuple[FakeEventLog, FakeHistory]:
    """When each was requested and answered, in seconds; two more answers were of nobody's asking."""
    log = FakeEventLog(*(topic.name for topic in topics.ALL))
    for asked, answered in analyses:
        place = written(log, "ai.requests", asked, ())
        written(log, "ai.results", answered, (("ce_type", FINDINGS_TYPE.encode()), ("cause", str(place).encode())))
    for at in (0.001, 0.002):
        written(log, "ai.results", at, (("ce_type", FINDINGS_TYPE.encode()), ("cause", b"imaging.orders/0/0")))
    return log, FakeHistory(log)


def written(log: FakeEventLog, topic: str, seconds: float, headers: Headers) -> Place:
    partition = log.topics[topic][len(log.records(topic)) % 4]
    place = Place(topic, log.topics[topic].index(partition), len(partition))
    partition.append(Record(place, None, b"{}", headers, START + timedelta(seconds=seconds)))
    return place


@pytest.mark.parametrize(
    ("analyses", "seconds"),
    [
        ([], None),
        ([(0, 2)], None),
        ([(0, 2), (100, 103), (200, 202)], 2),  # idle: what each took
        ([(0, 2), (0, 4), (0, 6), (0, 8), (0, 10)], 2),  # busy: what came between two
        ([(0, 0), (1, 1)], 0.001),
    ],
)
async def test_of_the_last_results(analyses: Sequence[tuple[float, float]], seconds: float | None) -> None:
    _, history = engine(*analyses)
    assert await seconds_per_analysis(history) == seconds


async def test_requests_that_are_gone_are_left_out() -> None:
    log, history = engine((0, 2), (100, 103), (200, 202), (300, 302), (400, 402))
    for number, partition in enumerate(log.topics["ai.requests"]):
        history.remove_before("ai.requests", number, len(partition))
    assert await seconds_per_analysis(history) == 100


def test_the_whole() -> None:
    part = Part(topic="ai.requests", spans=(Span("ai.requests", 0, 0, 400),), records=400, bytes=1)
    plan = Plan(selection=Selection(since=START), parts=(part,), analyses=400)
    assert seconds_of(plan, 200) is None
    assert seconds_of(plan, 200, analyses=False) == 2
    plan = replace_seconds(plan, 0.5)
    assert seconds_of(plan, 200) == 202
    assert seconds_of(plan, None) == 200


def replace_seconds(plan: Plan, seconds: float) -> Plan:
    return plan.model_copy(update={"seconds_per_analysis": seconds})

"""The demo waits for what it shows: topics are read side by side, and a later station may be heard before an earlier one."""

from __future__ import annotations

import json

import pytest

from schemas.ports import Outgoing
from streams import topics
from streams.demo.walk import STUDY_PATH, Walk
from tests.contract.example_findings import STUDY, two_findings
from tests.contract.fake_event_log import FakeEventLog


def at(topic: topics.Topic) -> Outgoing:
    value = json.dumps({"study_instance_uid": STUDY}).encode()
    if topic is topics.RESULTS:
        value = two_findings().model_dump_json().encode()
    return Outgoing(topic.name, b"destination" if topic is topics.DELIVERIES else STUDY.encode(), value)


@pytest.mark.parametrize("late", STUDY_PATH, ids=lambda topic: str(topic.name))
async def test_a_study_is_delivered_when_every_station_was_heard(late: topics.Topic) -> None:
    log = FakeEventLog(*(topic.name for topic in topics.ALL))
    walk = Walk(lambda _: None)
    async with walk.following(log):
        await log.append([at(topic) for topic in (*STUDY_PATH, topics.DELIVERIES) if topic is not late])
        with pytest.raises(TimeoutError, match=STUDY):
            await walk.delivered({STUDY}, timeout_s=0.1)
        await log.append([at(late)])
        await walk.delivered({STUDY}, timeout_s=5)
        assert walk.last(late.name, STUDY)


async def test_a_broker_that_was_slow_to_answer_ends_nothing() -> None:
    log = FakeEventLog(*(topic.name for topic in topics.ALL))
    log.away = True
    walk = Walk(lambda _: None)
    async with walk.following(log):
        with pytest.raises(TimeoutError):
            await walk.delivered({STUDY}, timeout_s=0.1)
        log.away = False
        await log.append([at(topic) for topic in (*STUDY_PATH, topics.DELIVERIES)])
        await walk.delivered({STUDY}, timeout_s=5)

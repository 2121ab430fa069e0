"""An event that somebody corrected and sent again is read where messages are read, for none of them is what it was made of."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.case_store import SqlCaseStore
from schemas.ports import Outgoing, Place, Record
from schemas.study_events import AnalysisRequested
from streams.dead_letters.letters import RESENT_FROM
from streams.replay.plan import expanded
from streams.replay.planning import planned
from streams.replay.selection import Selection
from streams.steps.normalise import normalise
from streams.steps.project import TOPICS as PROJECTED
from streams.steps.project import project
from tests.contract.fake_event_log import START, FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.past import ALL_TOPICS, Past, order_message
from tests.unit.replayed_day import NOON, SITE, Broker, Replay, completed, ordered

RESENT = (RESENT_FROM, b"radstream.dead-letters/0/7")


@pytest.mark.parametrize("is_projected", [True, False])
async def test_it_is_an_input_of_its_case_and_of_its_time(is_projected: bool, tmp_path: Path) -> None:
    log = FakeEventLog(*ALL_TOPICS)
    cases = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}", durable=False)
    past = Past(log, cases, None, lambda place: START)
    message = await past.message(order_message("P1", "A1"))
    await past.message(order_message("P2", "A2", "22"))
    (event,) = (record for record in log.records("imaging.orders") if b"A1" in record.value)
    sent = Outgoing(event.place.topic, event.key, event.value.replace(b"P1", b"P7"), (*event.headers, RESENT))
    (place,) = await log.append([sent])
    if is_projected:
        for record in (record for topic in PROJECTED for record in log.records(topic)):
            await project(record, cases=cases)
    history, kept = FakeHistory(log), cases if is_projected else None

    async def read(**asked: Any) -> set[Place]:
        return set(expanded((await planned(Selection(**asked), history, kept)).spans))

    assert await read(accession_numbers=("A1",)) == {message, place}
    assert await read(accession_numbers=("A1",), start_at="correlate") == {event.place, place}
    raw = {record.place for record in log.records("hl7.v2.raw")}
    assert await read(since=START, start_at="normalise") == {*raw, place}
    assert await read(message_types=("ORM",)) == raw
    history.remove_before(place.topic, place.partition, place.offset + 1)
    plan = await planned(Selection(accession_numbers=("A1",)), history, kept)
    assert not [span for span in plan.gone if span.topic == place.topic]
    await cases.close()


async def test_it_is_joined_as_it_was(tmp_path: Path) -> None:
    broker = Broker()
    (event,) = await normalise(ordered(0, "A1", NOON), site=SITE)
    again = Record(Place("imaging.orders", 0, 0), event.key, event.value, (*event.headers, RESENT), NOON + timedelta(seconds=9))
    await Replay(broker, tmp_path, [again, completed(0, "A1", 1)]).run(every_inputs=500)
    requests = [AnalysisRequested.model_validate_json(record.value) for record in broker.records("sandbox.again.ai.requests")]
    assert [len(request.subject.orders) for request in requests] == [1]

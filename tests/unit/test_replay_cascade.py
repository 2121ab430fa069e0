"""What a replay says is a function of what it reads: of no clock, no broker and no other run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from schemas.case_store import Due
from schemas.errors import ItemNotServed, StudyIncomplete
from schemas.findings import Findings, NotAnalysedReason
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.dead_letters.letters import letter_of
from streams.due import FIRST_DELAY, MAX_ATTEMPTS
from streams.emission import emit_findings
from streams.guard import StepStopped
from streams.replay.answered import answered_at
from streams.replay.cascade import Part
from streams.replay.reading import ReadOnlyArchive
from streams.steps.analyse import analyse
from streams.telling import ORDER_AWAITED
from streams.turns import Turns
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.test_image_decoders import InProcessDecoder
from tests.unit.analyses import ScriptedModel, using
from tests.unit.cases import minutes
from tests.unit.replayed_day import REQUESTS, SANDBOX, Broker, Replay, completed, day, ordered, raw


def results(broker: Broker) -> list[Findings]:
    return [Findings.model_validate_json(record.value) for record in broker.records(SANDBOX.results.name)]


async def test_twice_the_same_to_the_last_byte_however_much_is_written_in_one_go(tmp_path: Path) -> None:
    one, other = Broker(), Broker()
    assert await Replay(one, tmp_path / "one", day()).run(at_once=1)
    assert await Replay(other, tmp_path / "other", day()).run(at_once=100, every_inputs=100)
    assert one.said() == other.said()
    written = {name.removeprefix("sandbox.again."): len(records) for name, records in one.said().items() if records}
    assert written == {
        "imaging.orders": 4,
        "ai.requests": 8,
        "ai.results": 8,
        "ai.findings": 8,
        "radstream.dead-letters": 1,
    }, written


async def test_nothing_is_written_outside_the_sandbox(tmp_path: Path) -> None:
    broker = Broker()
    await Replay(broker, tmp_path / "one", day()).run()
    assert not any(broker.records(topic.name) for topic in topics.ALL)


async def test_each_record_names_its_cause_in_the_sandbox_where_it_stands(tmp_path: Path) -> None:
    broker = Broker()
    await Replay(broker, tmp_path / "one", [ordered(7, "A1", minutes(0)), completed(1, "A1", 1)]).run()
    (order,), (request,), (result,), (bundle,) = (
        broker.records(SANDBOX.own(topic).name) for topic in (topics.ORDERS, topics.REQUESTS, topics.RESULTS, topics.FINDINGS)
    )
    assert order.header("cause") == "hl7.v2.raw/0/7", "what it read came from the hospital"
    assert request.header("cause") == "imaging.studies/0/1"
    assert result.header("cause") == str(request.place)
    assert bundle.header("cause") == str(result.place)


async def test_a_study_waits_for_its_order_in_the_time_of_the_events(tmp_path: Path) -> None:
    """The wait is a minute: an order after half of one is joined; of two studies that have none each is told at its own time."""
    broker = Broker()
    inputs = [completed(1, "A1", 0), completed(2, "A2", 0.2), ordered(1, "A1", minutes(0.5)), completed(3, "A3", 300)]
    assert await Replay(broker, tmp_path / "one", inputs).run()
    found = {said.subject.study_instance_uid: said for said in results(broker)}
    assert len(found["1.2.3.1"].subject.orders) == 1
    assert not found["1.2.3.2"].subject.orders
    assert found["1.2.3.1"].subject.triggered_at == minutes(0.5)
    assert found["1.2.3.2"].subject.triggered_at == minutes(1.2)
    assert found["1.2.3.3"].subject.triggered_at == minutes(301), "after the last input time goes on until nothing is due"


async def test_an_answer_comes_when_it_came_then_and_a_late_one_is_late(tmp_path: Path) -> None:
    inputs = [ordered(1, "A1", minutes(0)), completed(1, "A1", 1), completed(2, "A2", 30)]
    before = Broker()
    await Replay(before, tmp_path / "before", inputs).run()
    (asked,) = (r for r in before.records(SANDBOX.own(topics.REQUESTS).name) if r.key == b"1.2.3.1")
    answered = {asked.header("ce_id") or "": minutes(1) + timedelta(minutes=12)}

    broker = Broker()
    await Replay(broker, tmp_path / "late", inputs, answered).run()
    said = [one for one in results(broker) if one.subject.study_instance_uid == "1.2.3.1"]
    assert [one.not_analysed and one.not_analysed.reason for one in said] == [NotAnalysedReason.LATE, NotAnalysedReason.NO_IMAGE]
    assert [one.subject.sequence for one in said] == sorted(one.subject.sequence for one in said)
    assert [str(one.subject.study_instance_uid) for one in results(broker)][-1] == "1.2.3.2"


async def test_an_answer_is_known_by_what_it_answers_also_where_its_state_had_another_number(tmp_path: Path) -> None:
    """Numbered by a former version: the id, which holds the number, is another one. What was said of it later answers nothing."""
    inputs = [ordered(1, "A1", minutes(0)), completed(1, "A1", 1)]
    before = Broker()
    await Replay(before, tmp_path / "before", inputs).run()
    (answer,) = results(before)
    subject = answer.subject.model_copy(update={"sequence": 4})
    former = answer.model_copy(update={"analysis_id": UUID(int=4), "subject": subject})
    live = FakeEventLog(topics.RESULTS.name)
    request = Record(Place(topics.REQUESTS.name, 0, 1), None, b"", (), minutes(1))
    for place in await live.append([emit_findings(former, None), emit_findings(former, request)]):
        partition = live.topics[place.topic][place.partition]
        partition[place.offset] = replace(partition[place.offset], timestamp=minutes(5 + 8 * place.offset))
    spans = [span for span in await FakeHistory(live).spans(topics.RESULTS.name) if len(span)]
    answered = await answered_at(FakeHistory(live), spans, ["1.2.3.1"])

    broker = Broker()
    await Replay(broker, tmp_path / "late", inputs, answered).run()
    told = [one.not_analysed and one.not_analysed.reason for one in results(broker)]
    assert told == [NotAnalysedReason.LATE, NotAnalysedReason.NO_IMAGE], "it came after the deadline of ten minutes"


async def test_an_image_that_is_gone_is_a_dead_letter_that_says_so_and_no_other_study_waits(tmp_path: Path) -> None:
    archive = ReadOnlyArchive(FakeStudyArchive())
    step = partial(
        analyse,
        archive=archive,
        decoder=InProcessDecoder(),
        models=using(ScriptedModel()),
        decoding=Turns(),
        predicting=Turns(),
        kept=None,
    )
    broker = Broker()
    part = Part("analyse", step, REQUESTS, answers=True)
    inputs = [completed(1, "A1", 0, chest=True), completed(2, "A2", 1, chest=True)]
    assert await Replay(broker, tmp_path / "one", inputs, analyse=part).run()
    letters = broker.records(SANDBOX.dead_letters.name)
    told = Counter((letter.key, letter.header("step")) for letter in letters)
    assert told == {(b"1.2.3.1", "analyse"): 1, (b"1.2.3.2", "analyse"): 1}
    assert all("StudyIncomplete" in (letter.header("reason") or "") for letter in letters)
    assert not any(name in dir(archive) for name in ("store", "_archive"))


@pytest.mark.parametrize("error", [ItemNotServed("archive", "study 1", "500"), StudyIncomplete("archive", "study 1", "gone")])
async def test_nobody_waits_for_what_is_not_there(tmp_path: Path, error: Exception) -> None:
    async def never(record: Record) -> list[Outgoing]:
        raise error

    broker = Broker()
    assert await Replay(broker, tmp_path / "one", [completed(1, "A1", 0)], analyse=Part("analyse", never, REQUESTS)).run()
    (letter,) = broker.records(SANDBOX.dead_letters.name)
    assert letter.header("topic") == "sandbox.again.ai.requests"


async def test_a_step_that_is_broken_stops_the_replay(tmp_path: Path) -> None:
    async def broken(record: Record) -> list[Outgoing]:
        raise KeyError

    inputs = [completed(number, f"A{number}", number) for number in range(1, 9)]
    with pytest.raises(StepStopped, match=r"came to it at imaging.studies/0/6. Begin one of another name without .* \(--start\)"):
        await Replay(Broker(), tmp_path / "one", inputs, analyse=Part("analyse", broken, REQUESTS)).run()


async def test_exceptions_in_a_row_are_counted_also_over_an_interruption(tmp_path: Path) -> None:
    """The fifth stops a run that nobody interrupted; so it does one that was paused after the third."""
    seen: list[Record] = []

    async def broken(record: Record) -> list[Outgoing]:
        seen.append(record)
        raise KeyError

    inputs, broker = [completed(number, None, number) for number in range(1, 9)], Broker()
    part = Part("analyse", broken, REQUESTS)
    assert await Replay(broker, tmp_path / "one", inputs[:3], analyse=part).run()
    assert len(seen) == 3
    with pytest.raises(StepStopped):
        await Replay(broker, tmp_path / "one", inputs, analyse=part).run()
    assert len(seen) == 5


@pytest.mark.parametrize(("failing", "fired"), [(1, 2), (99, MAX_ATTEMPTS)])
async def test_a_timer_that_fails_is_put_off_and_ends_nothing(tmp_path: Path, failing: int, fired: int) -> None:
    moments: list[datetime] = []

    async def awaited(due: Due, now: datetime) -> list[Outgoing]:
        moments.append(now)
        if len(moments) <= failing:
            raise KeyError
        return []

    inputs = [completed(1, "A1", 0), ordered(2, "A2", minutes(0.2)), completed(2, "A2", 0.5)]
    broker = Broker()
    assert await Replay(broker, tmp_path / "one", inputs, timers={ORDER_AWAITED: awaited}).run()
    assert len(moments) == fired
    assert moments[:2] == [minutes(1), minutes(1) + FIRST_DELAY]
    assert [one.subject.study_instance_uid for one in results(broker)] == ["1.2.3.2"], "the other one is answered"
    letters = [letter_of(letter) for letter in broker.records(SANDBOX.dead_letters.name)]
    given_up = [] if failing < fired else [("timer.order-awaited", "KeyError", b"1.2.3.1", str(fired))]
    assert [(one.step, one.error, one.key, one.attempts) for one in letters if one is not None] == given_up


async def test_an_admitted_message_is_all_that_is_read(tmp_path: Path) -> None:
    broker = Broker()
    assert await Replay(broker, tmp_path / "one", [raw(1, b"MSH|^~\\&|A|B|C|D|20260101||XYZ^Q99|1|P|2.5\r", minutes(0))]).run()
    assert not any(broker.said().values())

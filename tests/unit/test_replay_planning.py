"""Which records of a log, as the real steps wrote it, belong to what is selected: with the projection, without, and with half."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.case_store import SqlCaseStore
from schemas.case_store import TimelineEntry
from schemas.discrepancies import DiscrepancyAcknowledged, DiscrepancyOpened
from schemas.errors import RecordsRemoved
from schemas.history import Span
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Outgoing, Place
from streams import topics
from streams.emission import emit
from streams.replay.plan import Plan, expanded
from streams.replay.planning import planned
from streams.replay.selection import Selection
from streams.steps.project import TOPICS as PROJECTED
from streams.steps.project import project
from tests.contract.fake_event_log import START, FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.cases import recall
from tests.unit.discrepancies import event
from tests.unit.past import ALL_TOPICS, Past, completed, merge_message, order_message, unlink_message, update_message


@pytest.fixture
async def cases(tmp_path: Path) -> AsyncIterator[SqlCaseStore]:
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}", durable=False)
    yield store
    await store.close()


@pytest.fixture
def log() -> FakeEventLog:
    return FakeEventLog(*ALL_TOPICS)


@pytest.fixture
def history(log: FakeEventLog) -> FakeHistory:
    return FakeHistory(log)


@pytest.fixture(params=["projected", "not projected", "half projected", "every other one by a version that named nothing"])
def past(log: FakeEventLog, cases: SqlCaseStore, request: pytest.FixtureRequest) -> Past:
    """The projection is `cases` too."""
    return Past(log, cases, None, lambda place: log.topics[place.topic][place.partition][place.offset].timestamp)


async def kept(past: Past, log: FakeEventLog, how: str) -> SqlCaseStore | None:
    """What the projection has seen by now."""
    if how == "not projected":
        return None
    for topic in PROJECTED:
        for partition in log.topics[topic]:
            for record in partition[: len(partition) // 2] if how == "half projected" else partition:
                if how.startswith("every other") and record.place.offset % 2:
                    await past.cases.put_timeline(TimelineEntry(record.timestamp, record.place, "type", "line"))
                else:
                    await project(record, cases=past.cases)
    assert isinstance(past.cases, SqlCaseStore)
    return past.cases


def places(plan: Plan) -> set[Place]:
    return set(expanded(plan.spans))


async def written(past: Past) -> dict[str, set[Place]]:
    """Three cases and what is of none. Of the first the accession number comes later; its patient is merged into that of the third.
    The second was analysed by another model."""
    ours: dict[str, set[Place]] = {"first": set(), "second": set(), "third": set(), "merge": set(), "recall": set()}
    await past.message(update_message("4711"))
    ours["first"].add(await past.message(order_message("P1", "")))
    ours["second"].add(await past.message(order_message("P2", "A2", "22")))
    ours["first"].add(await past.message(order_message("P1", "A1", control="C2")))
    ours["third"].add(await past.message(order_message("P3", "A3", "33")))
    ours["merge"].add(await past.message(merge_message("4711", "33")))
    ours["first"].add(await past.completed(completed("1.2.1", "A1")))
    past.model = "chest-nodule/2"
    ours["second"].add(await past.completed(completed("1.2.2", "A2", "22")))
    past.model = "chest-nodule/1"
    ours["third"].add(await past.completed(completed("1.2.3", "A3", "33")))
    ours["first"].add(await past.completed(completed("1.2.9", "A1", at=3)))
    ours["recall"].update(await past.put(emit(topics.MODELS, "recalled.other.1", recall("other", "1"), None)))
    return ours


@pytest.mark.parametrize(
    ("asked", "which", "studies"),
    [
        ({"accession_numbers": ("A1",)}, ["first", "merge"], 2),
        ({"accession_numbers": ("A1^HOSPITAL",)}, ["first", "merge"], 2),
        ({"accession_numbers": ("A2", "A3")}, ["second", "third", "merge"], 2),
        ({"accession_numbers": ("A4",)}, [], 0),
        ({"patients": ("22",)}, ["second"], 1),
        ({"patients": ("33^HOSPITAL",)}, ["first", "third", "merge", "update"], 3),
        ({"models": ("chest-nodule/2",)}, ["second"], 1),
        ({"models": ("chest-nodule/1",)}, ["first", "third", "merge"], 3),
        ({"models": ("chest-nodule/1",), "accession_numbers": ("A2", "A3")}, ["third", "merge"], 1),
        ({"models": ("chest-nodule/1",), "until": START}, [], 0),
    ],
)
async def test_whole_cases(
    past: Past,
    log: FakeEventLog,
    history: FakeHistory,
    request: pytest.FixtureRequest,
    asked: dict[str, Any],
    which: list[str],
    studies: int,
) -> None:
    ours = await written(past)
    ours["update"] = {record.place for record in log.records("hl7.v2.raw") if b"A084711" in record.value}
    projection = await kept(past, log, request.node.callspec.params["past"])
    plan = await planned(Selection(**asked), history, projection)
    expected = set().union(*(ours[name] for name in which), ours["recall"])
    assert places(plan) == expected
    assert (plan.records, len(plan.studies), plan.analyses, plan.gone) == (len(expected), studies, studies, ())
    again = [record.place async for record in plan.inputs(history)]
    assert len(again) == len(expected)
    assert set(again) == expected


async def test_a_case_from_later_steps(past: Past, log: FakeEventLog, history: FakeHistory, request: pytest.FixtureRequest) -> None:
    ours = await written(past)
    projection = await kept(past, log, request.node.callspec.params["past"])
    of_a1 = {"accession_numbers": ("A1",)}
    plan = await planned(Selection(**of_a1, start_at="correlate"), history, projection)
    by_topic = {part.topic: part.records for part in plan.parts}
    expected = {"imaging.orders": 2, "imaging.patients": 1, "imaging.studies": 2, "radstream.models": 1}
    assert by_topic == expected
    plan = await planned(Selection(**of_a1, start_at="analyse"), history, projection)
    requested = {one.place for one in log.records("ai.requests") if one.key in (b"1.2.1", b"1.2.9")}
    assert places(plan) == requested
    assert plan.analyses == len(requested) >= 2
    assert len(ours["first"]) == 4


async def test_acknowledgements_come_with_their_case(
    past: Past, log: FakeEventLog, history: FakeHistory, request: pytest.FixtureRequest
) -> None:
    ours = await written(past)
    events = [
        event(kind, **more).model_copy(update={"study_instance_uid": StudyInstanceUID(uid)})
        for uid in ("1.2.1", "1.2.2")
        for kind, more in ((DiscrepancyOpened, {}), (DiscrepancyAcknowledged, {"acknowledged_by": "Dr A", "reason": "seen"}))
    ]
    placed = await log.append([emit(topics.DISCREPANCIES, str(one.study_instance_uid), one, None) for one in events])
    projection = await kept(past, log, request.node.callspec.params["past"])
    plan = await planned(Selection(accession_numbers=("A1",)), history, projection)
    assert places(plan) == ours["first"] | ours["merge"] | ours["recall"] | {placed[1]}


async def test_a_placer_order_number_that_many_orders_share_leads_to_none_of_them(
    past: Past, log: FakeEventLog, history: FakeHistory, request: pytest.FixtureRequest
) -> None:
    """Some senders write a constant. An order under it that contradicts the case in nothing may be of it."""
    ours: dict[int, set[Place]] = {}
    for number in range(1, 6):
        patient = str(100 + number)
        ours[number] = {await past.message(order_message("CONST", "", patient, sender=f"HIS{number}|H"))}
        ours[number].add(await past.message(order_message("CONST", f"A{number}", patient, control=f"C{number}")))
        ours[number].add(await past.completed(completed(f"1.2.{number}", f"A{number}", patient)))
    merge = await past.message(merge_message("103", "203"))
    ours[3].add(await past.message(order_message("CONST", "", "203", control="M1")))
    moved = {
        await past.message(order_message("P9", "A9", "101")),
        await past.message(order_message("P9", "A10", "101", control="X")),
    }
    projection = await kept(past, log, request.node.callspec.params["past"])
    for asked, expected in (
        ({"accession_numbers": ("A1",)}, ours[1]),
        ({"accession_numbers": ("A9",)}, moved),
        ({"patients": ("102",)}, ours[2]),
        ({"accession_numbers": ("A3",)}, ours[3] | {merge}),
    ):
        plan = await planned(Selection(**asked), history, projection)  # type: ignore[arg-type]
        assert places(plan) == expected


async def test_who_was_parted_is_another_patient(
    past: Past, log: FakeEventLog, history: FakeHistory, request: pytest.FixtureRequest
) -> None:
    ours = await written(past)
    parted = await past.message(unlink_message("22", "55"))
    ours["other"] = {await past.message(order_message("P5", "A5", "55")), parted}
    projection = await kept(past, log, request.node.callspec.params["past"])
    for asked, which in (({"patients": ("55",)}, "other"), ({"accession_numbers": ("A2",)}, "second")):
        plan = await planned(Selection(**asked), history, projection)
        assert places(plan) == ours[which] | {parted} | ours["recall"]


async def test_of_a_case_the_time_says_which(past: Past, log: FakeEventLog, history: FakeHistory) -> None:
    ours = await written(past)
    ordered = min(one.timestamp for one in log.records("imaging.orders") if one.key == b"A2^HOSPITAL")
    of_a2 = {"accession_numbers": ("A2",)}
    assert places(await planned(Selection(**of_a2, until=ordered), history)) == ours["recall"]
    whole = await planned(Selection(**of_a2, until=ordered + timedelta(microseconds=1)), history)
    assert places(whole) == ours["second"] | ours["recall"]


async def test_a_range_of_time_is_a_stretch_of_each_partition(log: FakeEventLog, history: FakeHistory, cases: SqlCaseStore) -> None:
    past = Past(log, cases, None, lambda place: START)
    await written(past)
    since, until = START + timedelta(seconds=1), START + timedelta(seconds=4)
    plan = await planned(Selection(since=since, until=until, start_at="normalise"), history)
    inputs = [one for topic in ("hl7.v2.raw", "imaging.studies", "radstream.models") for one in log.records(topic)]
    within = {one.place for one in inputs if since <= one.timestamp < until}
    assert places(plan) == within
    assert plan.earliest is not None
    assert plan.latest is not None
    assert since <= plan.earliest <= plan.latest < until
    assert plan.bytes == sum(
        len(one.key or b"") + len(one.value) + sum(len(name) + len(value) for name, value in one.headers)
        for one in inputs
        if one.place in within
    )
    everything = await planned(Selection(since=START), history)
    assert places(everything) == {one.place for one in log.records("ai.requests")}
    assert everything.analyses == everything.records


async def test_of_the_acts_only_those_that_are_done_again(log: FakeEventLog, history: FakeHistory, cases: SqlCaseStore) -> None:
    await log.append([Outgoing("radstream.models", b"chest", b"{}", (("ce_type", b"org.radstream.model.promoted.v1"),))])
    await log.append([Outgoing("ai.discrepancies", b"1.2", b"{}", (("ce_type", b"org.radstream.discrepancy.opened.v1"),))])
    (act,) = await log.append([Outgoing("ai.discrepancies", b"1.2", b"{}", (("ce_type", _ACKNOWLEDGED),))])
    plan = await planned(Selection(since=START, start_at="correlate"), history)
    assert places(plan) == {act}


_ACKNOWLEDGED = b"org.radstream.discrepancy.acknowledged.v1"


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"senders": ("HIS|H",)}, 4),
        ({"senders": ("ADT|H",)}, 2),
        ({"message_types": ("ADT",)}, 2),
        ({"message_types": ("adt^a40",)}, 1),
        ({"senders": ("HIS|H",), "message_types": ("ADT",)}, 0),
        ({"message_types": ("ADT^A40", "ORM^O01"), "since": START + timedelta(seconds=3)}, 3),
    ],
)
async def test_messages(log: FakeEventLog, history: FakeHistory, cases: SqlCaseStore, asked: dict[str, Any], count: int) -> None:
    await written(Past(log, cases, None, lambda place: START))
    await log.append([Outgoing("hl7.v2.raw", b"X|Y", b"\x00", ())])
    plan = await planned(Selection(**asked), history)
    assert {part.topic for part in plan.parts} <= {"hl7.v2.raw"}
    assert plan.records == count


async def test_what_retention_took(past: Past, log: FakeEventLog, history: FakeHistory, request: pytest.FixtureRequest) -> None:
    ours = await written(past)
    projection = await kept(past, log, request.node.callspec.params["past"])
    lost = min((one for one in ours["first"] if one.topic == "hl7.v2.raw"), key=lambda one: one.offset)
    history.remove_before(lost.topic, lost.partition, lost.offset + 1)
    plan = await planned(Selection(accession_numbers=("A1",)), history, projection)
    assert lost in set(expanded(plan.gone))
    assert not places(plan) & set(expanded(plan.gone))
    assert places(plan) | set(expanded(plan.gone)) == ours["first"] | ours["merge"] | ours["recall"]
    plan = await planned(Selection(since=START, start_at="normalise"), history)
    assert plan.gone == (Span(lost.topic, lost.partition, 0, lost.offset + 1),)


async def test_places_that_are_not_there(log: FakeEventLog, history: FakeHistory) -> None:
    await log.append([Outgoing("hl7.v2.raw", b"X", b"%d" % number, ()) for number in range(5)])
    (held,) = [span for span in await history.spans("hl7.v2.raw") if len(span)]
    plan = await planned(Selection(places=(str(Span(held.topic, held.partition, 1, 3)),)), history)  # type: ignore[arg-type]
    assert [place.offset for place in expanded(plan.spans)] == [1, 2]
    history.remove_before(held.topic, held.partition, 2)
    for asked, said in (
        (Span(held.topic, held.partition, 1, 4), f"of these hl7.v2.raw/{held.partition}/2-4 is left"),
        (Span(held.topic, held.partition, 0, 2), "none of these is left"),
        (Span(held.topic, held.partition, 4, 9), "4-5 is left"),
        (Span(held.topic, 77, 4, 9), "has no partition 77"),
    ):
        with pytest.raises(RecordsRemoved, match=said):
            await planned(Selection(places=(asked,)), history)

"""What every case store must do. A test class inherits `CaseStoreContract` and gives `url` and `other_store`."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid5

import pytest

from connectors.case_store import SqlCaseStore
from schemas.events import OrderEvent, OrderPlaced, Sender, StudyCompleted, revision_of
from schemas.identifiers import NAMESPACE, AccessionNumber, FillerOrderNumber, PlacerOrderNumber, StudyInstanceUID
from schemas.ports import CaseStore, Delivery, Due, Place, Record, TimelineEntry, Told

NOON = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
ACCESSION = AccessionNumber(value="A1", assigner="RIS")
PLACER = PlacerOrderNumber(value="P1", assigner="HIS")
FILLER = FillerOrderNumber(value="F1", assigner="RIS")
STUDY = StudyInstanceUID("1.2.3")
DIGEST = "0" * 64


def an_order(
    name: str,
    placer: PlacerOrderNumber | None = None,
    filler: FillerOrderNumber | None = None,
    accession: AccessionNumber | None = None,
) -> OrderPlaced:
    return OrderPlaced(
        id=uuid5(NAMESPACE, name),
        time=NOON,
        sender=Sender(application="HIS", facility="WARD", message_control_id=name, occurred_at=NOON),
        placer_order_number=placer,
        filler_order_number=filler,
        accession_number=accession,
    )


def a_study(name: str, uid: StudyInstanceUID = STUDY, accession: AccessionNumber | None = ACCESSION) -> StudyCompleted:
    return StudyCompleted(
        id=uuid5(NAMESPACE, name),
        time=NOON,
        study_instance_uid=uid,
        accession_number=accession,
        images=(),
        revision=revision_of(()),
        source="test",
    )


def a_timer(name: str, not_before: datetime = NOON) -> Due:
    return Due(id=uuid5(NAMESPACE, name), reason="order-awaited", case=STUDY, not_before=not_before)


def an_entry(offset: int, *, study: str | None = None, accession: str | None = None, minutes: int = 0) -> TimelineEntry:
    return TimelineEntry(NOON + timedelta(minutes=minutes), Place("t", 0, offset), "type", f"line {offset}", study, accession)


def names(events: list[OrderEvent]) -> list[str]:
    return [event.sender.message_control_id for event in events]


def first_use(url: str, barrier: multiprocessing.synchronize.Barrier, name: str) -> None:
    """In a process of its own: open a new database together with others."""

    async def use() -> None:
        store = SqlCaseStore(url)
        barrier.wait(60)
        await store.put_position(name, "1")
        await store.close()

    asyncio.run(use())


class CaseStoreContract:
    """Runs on a real database; `store` and `other` are two programs that share it."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[CaseStore]:
        store = SqlCaseStore(url)
        yield store
        await store.close()

    @pytest.fixture
    async def other(self, url: str) -> AsyncIterator[CaseStore]:
        store = SqlCaseStore(url)
        yield store
        await store.close()

    async def test_orders_are_found_by_any_of_their_numbers_in_order_of_arrival(self, store: CaseStore) -> None:
        async with store.correlation("a") as rows:
            await rows.put_order(an_order("placer", placer=PLACER))
            await rows.put_order(an_order("filler", filler=FILLER))
            await rows.put_order(an_order("all", PLACER, FILLER, ACCESSION))
            await rows.put_order(an_order("stranger", placer=PLACER.model_copy(update={"assigner": "OTHER"})))
        async with store.correlation("a") as rows:
            assert names(await rows.orders_sharing({PLACER})) == ["placer", "all"]
            assert names(await rows.orders_sharing({FILLER})) == ["filler", "all"]
            assert names(await rows.orders_sharing({ACCESSION})) == ["all"]
            assert names(await rows.orders_sharing({PLACER, FILLER, ACCESSION})) == ["placer", "filler", "all"]
            assert await rows.orders_sharing(set()) == []

    async def test_an_accession_number_leaves_out_orders_of_another(self, store: CaseStore) -> None:
        second = AccessionNumber(value="A2", assigner="RIS")
        async with store.correlation("a") as rows:
            await rows.put_order(an_order("none", placer=PLACER))
            await rows.put_order(an_order("first", placer=PLACER, accession=ACCESSION))
            await rows.put_order(an_order("second", placer=PLACER, accession=second))
            assert names(await rows.orders_sharing({PLACER}, ACCESSION)) == ["none", "first"]
            assert names(await rows.orders_sharing({PLACER}, second)) == ["none", "second"]

    async def test_many_numbers_at_once(self, store: CaseStore) -> None:
        placers = [PlacerOrderNumber(value=f"P{n}", assigner="HIS") for n in range(1000)]
        async with store.correlation("a") as rows:
            for n in (1, 500, 999):
                await rows.put_order(an_order(f"order {n}", placer=placers[n]))
            assert names(await rows.orders_sharing(placers)) == ["order 1", "order 500", "order 999"]

    async def test_an_order_comes_back_as_it_was_put_once_however_often_put(self, store: CaseStore) -> None:
        order = an_order("once", PLACER, FILLER, ACCESSION)
        for _ in range(3):
            async with store.correlation("a") as rows:
                await rows.put_order(order)
        async with store.correlation("a") as rows:
            (found,) = await rows.orders_sharing({PLACER})
        assert found.model_dump() == order.model_dump()

    async def test_a_study_keeps_its_events_in_order_of_arrival_each_once(self, store: CaseStore) -> None:
        first, second = a_study("first"), a_study("second", accession=None)
        for event in (first, second, first):
            async with store.correlation("a") as rows:
                await rows.put_study(event)
        async with store.correlation("a") as rows:
            state = await rows.study(STUDY)
            assert state is not None
            assert state.events == (first, second)
            assert state.told is None
            assert await rows.study(StudyInstanceUID("1.2.4")) is None

    async def test_studies_of_an_accession_number(self, store: CaseStore) -> None:
        b, a, none = StudyInstanceUID("1.2.9"), StudyInstanceUID("1.2.8"), StudyInstanceUID("1.2.7")
        async with store.correlation("a") as rows:
            await rows.put_study(a_study("b", b))
            await rows.put_study(a_study("a", a))
            await rows.put_study(a_study("a corrected", a, accession=None))
            await rows.put_study(a_study("none", none, accession=None))
            found = await rows.studies_of(ACCESSION)
        assert [state.events[0].study_instance_uid for state in found] == [a, b]
        assert len(found[0].events) == 2

    async def test_what_was_told_is_kept_to_the_byte_and_replaced(self, store: CaseStore) -> None:
        async with store.correlation("a") as rows:
            await rows.put_study(a_study("study"))
            await rows.put_told(STUDY, Told("one", 1, "ai.requests", b'{"a": 1.50}\x00\xff'))
        async with store.correlation("a") as rows:
            assert (await rows.study(STUDY)).told == Told("one", 1, "ai.requests", b'{"a": 1.50}\x00\xff')  # type: ignore[union-attr]
            await rows.put_told(STUDY, Told("two", 2, "ai.results", b""))
            assert (await rows.study(STUDY)).told == Told("two", 2, "ai.results", b"")  # type: ignore[union-attr]

    async def test_an_exception_leaves_nothing_behind(self, store: CaseStore) -> None:
        async def fail() -> None:
            async with store.correlation("a") as rows:
                await rows.put_order(an_order("gone", placer=PLACER))
                await rows.put_due(a_timer("gone"))
                raise KeyError

        with pytest.raises(KeyError):
            await fail()
        async with store.correlation("a") as rows:
            assert await rows.orders_sharing({PLACER}) == []
        assert await store.due_before(NOON) == []

    async def test_a_cancelled_transaction_leaves_nothing_and_frees_its_lock(self, store: CaseStore) -> None:
        inside = asyncio.Event()

        async def never_ends() -> None:
            async with store.correlation("a") as rows:
                await rows.put_order(an_order("gone", placer=PLACER))
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(never_ends())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5), store.correlation("a") as rows:
            assert await rows.orders_sharing({PLACER}) == []

    async def test_transactions_of_one_case_are_one_after_the_other(self, store: CaseStore, other: CaseStore) -> None:
        """Read, then write what was read plus one: a lost update would end below the number of tries."""

        async def count(of: CaseStore) -> None:
            async with of.correlation("b", "a") as rows:
                await rows.put_study(a_study("study"))
                state = await rows.study(STUDY)
                assert state is not None
                reached = state.told.sequence if state.told else 0
                await rows.put_told(STUDY, Told("count", reached + 1, "t", b""))

        await asyncio.gather(*(count(store if n % 2 else other) for n in range(40)))
        async with store.correlation("a") as rows:
            assert (await rows.study(STUDY)).told == Told("count", 40, "t", b"")  # type: ignore[union-attr]

    async def test_cases_named_in_any_order_do_not_deadlock(self, store: CaseStore, other: CaseStore) -> None:
        async def use(of: CaseStore, *cases: str) -> None:
            async with of.correlation(*cases) as rows:
                await rows.put_due(a_timer(cases[0]))

        async with asyncio.timeout(60):
            await asyncio.gather(*(use(*turn) for _ in range(20) for turn in ((store, "x", "y", "Z"), (other, "Z", "y", "x"))))
        assert len(await store.due_before(NOON)) == 2

    async def test_more_transactions_than_threads(self, store: CaseStore) -> None:
        """Those that wait for the lock never keep its holder from the threads it needs to finish."""
        async with asyncio.timeout(30), AsyncExitStack() as waiting:

            async def put(n: int) -> None:
                async with store.correlation("one") as rows:
                    await rows.put_due(a_timer(str(n)))

            async with store.correlation("one") as rows:
                tasks = [asyncio.create_task(put(n)) for n in range(20)]
                waiting.push_async_callback(asyncio.gather, *tasks)
                await asyncio.sleep(0)
                await rows.put_due(a_timer("holder"))
        assert len(await store.due_before(NOON)) == 21

    async def test_due_comes_when_its_time_has_come_the_longest_due_first(self, store: CaseStore) -> None:
        late, early = a_timer("late", NOON), a_timer("early", NOON - timedelta(microseconds=1))
        future = a_timer("future", NOON + timedelta(microseconds=1))
        for item in (late, future, early):
            await store.put_due(item)
        assert await store.due_before(NOON) == [early, late]
        assert await store.due_before(NOON, limit=1) == [early]
        await store.remove_due(early.id)
        await store.remove_due(early.id)
        assert await store.due_before(NOON) == [late]

    async def test_due_of_one_id_is_replaced(self, store: CaseStore) -> None:
        parked = replace(a_timer("one"), record=Record(Place("t", 0, 1), b"k", b"v", (), NOON), step="analyse", attempts=3)
        await store.put_due(parked)
        assert await store.due_before(NOON) == [parked]
        await store.put_due(a_timer("one"))
        assert await store.due_before(NOON) == [a_timer("one")]

    @pytest.mark.parametrize("key", [None, b"", b"\x00\xffkey"])
    async def test_a_parked_record_comes_back_exactly(self, store: CaseStore, key: bytes | None) -> None:
        headers = (("a", b"\x00\xfe"), ("a", b""), ("ü", "ß".encode()))
        stamp = datetime(2026, 11, 24, 14, 0, 0, 7, tzinfo=timezone(timedelta(hours=2)))
        record = Record(Place("hl7.v2.raw", 3, 2**40), key, bytes(range(256)), headers, stamp)
        item = Due(uuid5(NAMESPACE, "p"), "StudyIncomplete", "ü", NOON, 2, "analyse", record)
        await store.put_due(item)
        assert await store.due_before(NOON) == [item]

    async def test_a_moment_without_time_zone_is_refused(self, store: CaseStore) -> None:
        with pytest.raises(TypeError):
            await store.put_due(a_timer("naive", NOON.replace(tzinfo=None)))

    async def test_a_delivery_keeps_the_higher_sequence(self, store: CaseStore) -> None:
        def at(sequence: int, said: str) -> Delivery:
            return Delivery("fhir", STUDY, uuid5(NAMESPACE, said), sequence, said)

        assert await store.delivered("fhir", STUDY) is None
        for delivery in (at(2, "two"), at(1, "one"), at(2, "two again")):
            await store.put_delivery(delivery)
            assert await store.delivered("fhir", STUDY) == at(2, "two")
        await store.put_delivery(at(3, "three"))
        assert await store.delivered("fhir", STUDY) == at(3, "three")
        assert await store.delivered("other", STUDY) is None

    async def test_positions(self, store: CaseStore, other: CaseStore) -> None:
        assert await store.position("orthanc") is None
        await store.put_position("orthanc", "7")
        await store.put_position("orthanc", "8")
        await store.put_position("webhook", "1")
        assert await other.position("orthanc") == "8"

    async def test_timeline_of_a_case_and_of_the_studies_that_carry_it(self, store: CaseStore) -> None:
        order = an_entry(1, accession="A1^RIS", minutes=1)
        study = an_entry(2, accession="A1^RIS", study="1.2.3", minutes=2)
        delivery = an_entry(3, study="1.2.3", minutes=3)
        first = an_entry(4, accession="A1^RIS", minutes=0)
        strangers = [an_entry(5, accession="A10^RIS"), an_entry(6, study="1.2.4"), an_entry(7)]
        for entry in (delivery, study, *strangers, order, first, order):
            await store.put_timeline(entry)
        expected = [first, order, study, delivery]
        assert await store.timeline("A1^RIS") == expected
        assert await store.timeline("A1") == expected
        assert await store.timeline("A2") == []

    async def test_a_new_database_opened_by_several_processes_at_once(self, url: str, store: CaseStore) -> None:
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(3)
        processes = [context.Process(target=first_use, args=(url, barrier, str(n))) for n in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            await asyncio.to_thread(process.join, 60)
        assert [process.exitcode for process in processes] == [0] * 3
        assert [await store.position(str(n)) for n in range(3)] == ["1"] * 3

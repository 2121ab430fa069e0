"""What the transactions of every case store promise: all or nothing, and one after the other where they concern each other."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.synchronize
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from connectors.case_store import SqlCaseStore
from schemas.case_store import CaseStore, Told
from schemas.events import Priority
from schemas.findings import Findings, OrderReference
from schemas.study_events import AnalysisRequested
from streams.serialised import keys_of
from tests.contract.correlation import ACCESSION, PLACER, STUDY, told
from tests.contract.due_items import NOON, a_timer
from tests.unit.cases import CaseEvent, Hospital, merge, numbers, order, person, reason, said, study, unlink


async def at_the_same_moment(stores: Sequence[CaseStore], events: Sequence[CaseEvent]) -> list[AnalysisRequested | Findings]:
    """Each event in a program of its own; then what was said last of each study, when no order is awaited any more."""
    hospitals = [Hospital(store) for store in stores]
    answers = await asyncio.gather(*(hospital.happens(event) for hospital, event in zip(hospitals, events, strict=True)))
    answers.append(await hospitals[0].time_passes(1000))
    last: dict[str, AnalysisRequested | Findings] = {}
    for value in sorted((said(out) for outputs in answers for out in outputs), key=lambda value: value.subject.sequence):
        last[value.subject.study_instance_uid] = value
    return [last[uid] for uid in sorted(last)]


def first_use(url: str, barrier: multiprocessing.synchronize.Barrier, name: str) -> None:
    """In a process of its own: open a new database together with others."""

    async def use() -> None:
        store = SqlCaseStore(url)
        barrier.wait(60)
        await store.put_position(name, "1")
        await store.close()

    asyncio.run(use())


class TransactionContract:
    """For a class that gives `url`, `store` and `other` (tests/contract/case_store.py)."""

    async def test_an_exception_leaves_nothing_behind(self, store: CaseStore) -> None:
        async def fail() -> None:
            async with store.correlation("a") as rows:
                await rows.put_order(order(placer="P1"))
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
                await rows.put_order(order(placer="P1"))
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
                await rows.put_study(study())
                last = await told(rows, STUDY)
                await rows.put_told(STUDY, Told("count", last.sequence + 1 if last else 1, "t", b""))

        await asyncio.gather(*(count(store if n % 2 else other) for n in range(40)))
        async with store.correlation("a") as rows:
            assert await told(rows, STUDY) == Told("count", 40, "t", b"")

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

    async def test_order_study_merge_and_unlink_at_the_same_moment(self, url: str) -> None:
        """Whoever comes last sees what the others wrote, though none knows at first whom it concerns."""
        stores = [SqlCaseStore(url) for _ in range(5)]
        for number in range(25):
            old, new, wrong = (person(f"{name}{number}") for name in ("old", "new", "wrong"))
            events = (
                order(placer=f"P{number}", accession=f"A{number}", patients=(new,)),
                study(f"1.2.{number + 1}", accession=f"A{number}", patient=old),
                merge(old, into=[new], at=2),
                unlink([old], [wrong], at=1),
                merge(wrong, into=[old], at=0),
            )
            (last,) = await at_the_same_moment(stores, events)
            assert (reason(last), last.subject.patient) == (None, new)
        for store in stores:
            await store.close()

    async def test_an_order_waits_for_a_merge_of_its_patient_that_is_not_yet_committed(
        self, store: CaseStore, other: CaseStore
    ) -> None:
        """Only the order says whom the study is about."""
        old, new = person("old"), person("new")
        hospital = Hospital(other)
        await hospital.happens(study(patient=None))
        async with store.correlation(*keys_of([old, new])) as rows:
            await rows.put_patient(merge(old, into=[new]))
            answer = asyncio.create_task(hospital.answer(order(placer="P1", accession="A1", patients=(old,))))
            await asyncio.wait([answer], timeout=0.5)  # time to go wrong
        assert (await answer).subject.patient == new

    async def test_an_order_waits_for_its_study_that_is_just_given_another_accession_number(
        self, store: CaseStore, other: CaseStore
    ) -> None:
        """No number and no patient is in both records, only the study."""
        hospital = Hospital(other)
        await hospital.happens(study(patient=None))
        async with store.correlation(*keys_of([STUDY])) as rows:
            await rows.put_study(study(accession="A2", patient=None, at=1))
            answers = asyncio.create_task(hospital.answers(order(placer="P1", accession="A1")))
            await asyncio.wait([answers], timeout=0.5)  # time to go wrong
        assert await answers == []

    async def test_a_replacement_waits_for_a_study_of_what_it_replaces_that_is_not_yet_committed(
        self, store: CaseStore, other: CaseStore
    ) -> None:
        """The study cannot know of it yet: only the replacement knows the number by which they meet."""
        hospital = Hospital(other)
        await hospital.happens(order(placer="P1", accession="A1"))
        replaced = OrderReference(placer_order_number=PLACER)
        async with store.correlation(*keys_of([PLACER, ACCESSION, STUDY])) as rows:
            await rows.put_study(study())
            answer = asyncio.create_task(hospital.answer(order(placer="P2", at=1, replaces=(replaced,))))
            await asyncio.wait([answer], timeout=0.5)  # time to go wrong
        assert numbers(await answer) == ["P1 - A1", "P2 - -"]

    async def test_a_moved_order_and_its_studies_at_the_same_moment(self, url: str) -> None:
        stores = [SqlCaseStore(url) for _ in range(4)]
        for number in range(25):
            events = (
                order(placer=f"P{number}", accession=f"A{number}", priority=Priority.STAT),
                order(placer=f"P{number}", accession=f"B{number}", at=1, changed=True),
                study(f"1.2.1.{number + 1}", accession=f"A{number}"),
                study(f"1.2.2.{number + 1}", accession=f"B{number}"),
            )
            left, moved = await at_the_same_moment(stores, events)
            assert (numbers(left), numbers(moved)) == ([], [f"P{number} - B{number}"])
            assert isinstance(moved, AnalysisRequested)
            assert moved.priority is Priority.STAT
        for store in stores:
            await store.close()

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

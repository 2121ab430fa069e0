"""What every case store must do. A test class inherits `CaseStoreContract` and gives `url` and `other_store`."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid5

import pytest

from connectors.case_store import SqlCaseStore
from schemas.case_store import CaseStore, Delivery, Due, TimelineEntry, Told
from schemas.events import (
    AnalysisRequested,
    OrderChanged,
    OrderEvent,
    OrderPlaced,
    PatientEvent,
    PatientMerged,
    PatientUnlinked,
    PatientUpdated,
    Priority,
    Sender,
    StudyCompleted,
    revision_of,
)
from schemas.findings import Findings
from schemas.identifiers import (
    NAMESPACE,
    AccessionNumber,
    FillerOrderNumber,
    PatientIdentifier,
    PlacerOrderNumber,
    StudyInstanceUID,
)
from schemas.ports import Place, Record
from streams.serialised import keys_of
from tests.unit.cases import CaseEvent, Hospital, merge, numbers, order, person, reason, said, study, unlink

NOON = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
ACCESSION = AccessionNumber(value="A1", assigner="RIS")
PLACER = PlacerOrderNumber(value="P1", assigner="HIS")
FILLER = FillerOrderNumber(value="F1", assigner="RIS")
STUDY = StudyInstanceUID("1.2.3")
JANE = PatientIdentifier(value="4711", assigner="HOSPITAL")
JANE_BEFORE = PatientIdentifier(value="4710", assigner="HOSPITAL")
CITIZEN = PatientIdentifier(value="N1", assigner="NATION")
DIGEST = "0" * 64


def an_order(
    name: str,
    placer: PlacerOrderNumber | None = None,
    filler: FillerOrderNumber | None = None,
    accession: AccessionNumber | None = None,
    kind: type[OrderEvent] = OrderPlaced,
    patients: tuple[PatientIdentifier, ...] = (),
) -> OrderEvent:
    return kind(
        id=uuid5(NAMESPACE, name),
        time=NOON,
        sender=Sender(application="HIS", facility="WARD", message_control_id=name, occurred_at=NOON),
        placer_order_number=placer,
        filler_order_number=filler,
        accession_number=accession,
        patients=patients,
    )


def an_update(
    name: str, *patients: PatientIdentifier, sender: str = "HIS", at: float = 0, msh13: int | None = None
) -> PatientUpdated:
    return PatientUpdated(id=uuid5(NAMESPACE, name), time=NOON, sender=a_sender(name, sender, at, msh13), patients=patients)


def a_sender(name: str, sender: str = "HIS", at: float = 0, msh13: int | None = None) -> Sender:
    """`at`: minutes after noon."""
    occurred_at = NOON + timedelta(minutes=at)
    return Sender(application=sender, facility="WARD", message_control_id=name, occurred_at=occurred_at, sequence_number=msh13)


def a_study(
    name: str,
    uid: StudyInstanceUID = STUDY,
    accession: AccessionNumber | None = ACCESSION,
    patient: PatientIdentifier | None = None,
) -> StudyCompleted:
    return StudyCompleted(
        id=uuid5(NAMESPACE, name),
        time=NOON,
        study_instance_uid=uid,
        accession_number=accession,
        patient=patient,
        images=(),
        revision=revision_of(()),
        source="test",
    )


def a_timer(name: str, not_before: datetime = NOON) -> Due:
    return Due(id=uuid5(NAMESPACE, name), reason="order-awaited", case=STUDY, not_before=not_before)


def an_entry(offset: int, *, study: str | None = None, accession: str | None = None, minutes: int = 0) -> TimelineEntry:
    return TimelineEntry(NOON + timedelta(minutes=minutes), Place("t", 0, offset), "type", f"line {offset}", study, accession)


def names(events: Sequence[OrderEvent | PatientEvent]) -> list[str]:
    return [event.sender.message_control_id for event in events]


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

    async def test_an_order_event_that_changed_an_order_says_so(self, store: CaseStore) -> None:
        async with store.correlation("a") as rows:
            await rows.put_order(an_order("placed", placer=PLACER))
            await rows.put_order(an_order("changed", placer=PLACER, kind=OrderChanged))
        async with store.correlation("a") as rows:
            found = await rows.orders_sharing({PLACER})
        assert [isinstance(event, OrderChanged) for event in found] == [False, True]

    async def test_orders_of_patients(self, store: CaseStore) -> None:
        async with store.correlation("a") as rows:
            await rows.put_order(an_order("both", placer=PLACER, patients=(JANE, CITIZEN)))
            await rows.put_order(an_order("nobody", placer=PLACER))
            for _ in range(2):
                await rows.put_order(an_order("citizen", filler=FILLER, kind=OrderChanged, patients=(CITIZEN,)))
            assert names(await rows.orders_of_patients({JANE})) == ["both"]
            both = await rows.orders_of_patients({CITIZEN, JANE, JANE_BEFORE})
            assert names(both) == ["both", "citizen"]
            assert [isinstance(event, OrderChanged) for event in both] == [False, True]
            assert await rows.orders_of_patients({JANE_BEFORE}) == []
            assert await rows.orders_of_patients(()) == []

    async def test_patient_events_are_found_by_all_they_name_and_come_back_as_they_were_put(self, store: CaseStore) -> None:
        merge = PatientMerged(
            id=uuid5(NAMESPACE, "merge"), time=NOON, sender=a_sender("merge"), patients=(JANE, CITIZEN), prior=(JANE_BEFORE,)
        )
        unlink = PatientUnlinked(**dict(merge))  # the same bytes, but not the same word
        update = an_update("update", JANE, CITIZEN)
        async with store.correlation("a") as rows:
            for event in (merge, unlink, update, merge):
                await rows.put_patient(event)
        async with store.correlation("a") as rows:
            assert await rows.patient_events({JANE_BEFORE}) == [merge, unlink]
            assert await rows.patient_events({CITIZEN, JANE}) == [merge, unlink, update]
            assert await rows.patient_events(()) == []

    async def test_of_patient_events_that_say_the_same_the_newest_of_the_sender_counts(self, store: CaseStore) -> None:
        first = an_update("first", JANE, CITIZEN, at=2)
        for event, newest in (
            (first, ["first"]),
            (an_update("late and older", JANE, CITIZEN, at=1), ["first"]),
            (an_update("before the epoch", JANE, CITIZEN, at=-60_000_000), ["first"]),
            (an_update("another sender", JANE, CITIZEN, sender="RIS", at=1), ["first", "another sender"]),
            (an_update("another order", CITIZEN, JANE, at=1), ["first", "another sender", "another order"]),
            (an_update("9", JANE, CITIZEN, at=2, msh13=9), ["another sender", "another order", "9"]),
            (an_update("10", JANE, CITIZEN, at=2, msh13=10), ["another sender", "another order", "10"]),
            (an_update("10 again", JANE, CITIZEN, at=2, msh13=10), ["another sender", "another order", "10 again"]),
            (first, ["another sender", "another order", "10 again"]),
            (an_update("newer", JANE, CITIZEN, at=2.1, msh13=1), ["another sender", "another order", "newer"]),
        ):
            async with store.correlation("a") as rows:
                await rows.put_patient(event)
                assert names(await rows.patient_events({JANE})) == newest

    async def test_many_patients_at_once(self, store: CaseStore) -> None:
        patients = [PatientIdentifier(value=f"{n}", assigner="HOSPITAL") for n in range(1000)]
        async with store.correlation("a") as rows:
            for n in (1, 500, 999):
                await rows.put_patient(an_update(f"update {n}", patients[n], CITIZEN))
                await rows.put_order(an_order(f"order {n}", placer=PLACER, patients=(patients[n],)))
                await rows.put_study(a_study(f"study {n}", StudyInstanceUID(f"1.2.{n}"), patient=patients[n]))
            assert names(await rows.patient_events(patients)) == ["update 1", "update 500", "update 999"]
            assert names(await rows.orders_of_patients(patients)) == ["order 1", "order 500", "order 999"]
            assert await rows.studies_of_patients(patients) == ["1.2.1", "1.2.500", "1.2.999"]

    async def test_studies_of_patients(self, store: CaseStore) -> None:
        async with store.correlation("a") as rows:
            await rows.put_study(a_study("before", patient=JANE_BEFORE))
            await rows.put_study(a_study("corrected", patient=JANE))
            await rows.put_study(a_study("again", patient=JANE))
            await rows.put_study(a_study("nobody", StudyInstanceUID("1.2.4")))
            for patients in ({JANE}, {JANE_BEFORE}, {JANE, JANE_BEFORE, CITIZEN}):
                assert await rows.studies_of_patients(patients) == [STUDY]
            assert await rows.studies_of_patients({CITIZEN}) == []

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

    async def test_which_event_made_the_state(self, store: CaseStore) -> None:
        one, other = uuid5(NAMESPACE, "one"), uuid5(NAMESPACE, "other")
        async with store.correlation("a") as rows:
            for uid in ("1.2.9", "1.2.8"):
                await rows.put_study(a_study(uid, StudyInstanceUID(uid)))
                await rows.put_told(StudyInstanceUID(uid), Told("one", 1, "t", b"", one))
        async with store.correlation("a") as rows:
            assert await rows.told_because(one) == ["1.2.8", "1.2.9"]
            assert await rows.told_because(other) == []
            await rows.put_told(StudyInstanceUID("1.2.8"), Told("two", 2, "t", b"", other))
            await rows.put_told(StudyInstanceUID("1.2.9"), Told("two", 2, "t", b""))  # a timer
            assert await rows.told_because(one) == []
            assert await rows.told_because(other) == ["1.2.8"]
            assert (await rows.study(StudyInstanceUID("1.2.8"))).told == Told("two", 2, "t", b"", other)  # type: ignore[union-attr]

    async def test_a_database_made_before_patients_were_looked_up(self, url: str, store: CaseStore) -> None:
        first = SqlCaseStore(url)
        async with first.correlation("a") as rows:
            await rows.put_order(an_order("order", placer=PLACER, patients=(JANE, CITIZEN)))
            await rows.put_study(a_study("before", patient=JANE_BEFORE))
            await rows.put_study(a_study("after", patient=JANE_BEFORE, accession=None))
        newer = ("order_changes", "order_patients", "patients", "patient_words", "study_patients", "told_because")
        await first._database.write(lambda connection: [connection.exec_driver_sql(f"DROP TABLE {table}") for table in newer])
        await first.close()
        async with store.correlation("a") as rows:
            assert names(await rows.orders_of_patients({CITIZEN})) == ["order"]
            assert await rows.studies_of_patients({JANE_BEFORE}) == [STUDY]
            assert await rows.patient_events({JANE}) == []

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
            told = asyncio.create_task(hospital.answer(order(placer="P1", accession="A1", patients=(old,))))
            await asyncio.wait([told], timeout=0.5)  # time to go wrong
        assert (await told).subject.patient == new

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

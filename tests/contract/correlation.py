"""What the correlation tables of every case store must keep, and how it is found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar
from uuid import uuid5

from connectors.case_store import SqlCaseStore
from schemas.case_store import CaseStore, Correlation, Told
from schemas.events import OrderChanged, OrderEvent, PatientEvent, PatientUnlinked
from schemas.identifiers import (
    NAMESPACE,
    AccessionNumber,
    FillerOrderNumber,
    PatientIdentifier,
    PlacerOrderNumber,
    StudyInstanceUID,
)
from tests.contract.hearings import HearingsContract
from tests.unit.cases import JANE, merge, minutes, order, person, study, update

ACCESSION = AccessionNumber(value="A1", assigner="RIS")
PLACER = PlacerOrderNumber(value="P1", assigner="HIS")
FILLER = FillerOrderNumber(value="F1", assigner="RIS")
STUDY = StudyInstanceUID("1.2.3")
JANE_BEFORE = person("4710")
CITIZEN = person("N1", "NATION")

_E = TypeVar("_E", OrderEvent, PatientEvent)


def named(name: str, event: _E) -> _E:
    """The same as a message of its own: `name` is its MSH-10."""
    sender = event.sender.model_copy(update={"message_control_id": name})
    return event.model_copy(update={"id": uuid5(NAMESPACE, name), "sender": sender})


def names(events: Sequence[OrderEvent | PatientEvent]) -> list[str]:
    return [event.sender.message_control_id for event in events]


async def told(rows: Correlation, study: StudyInstanceUID) -> Told | None:
    state = await rows.study(study)
    assert state is not None
    return state.told


class CorrelationContract(HearingsContract):
    """For a class that gives `url` and `store` (tests/contract/case_store.py)."""

    async def test_orders_are_found_by_any_of_their_numbers_in_order_of_arrival(self, store: CaseStore) -> None:
        elsewhere = PLACER.model_copy(update={"assigner": "OTHER"})
        stranger = order(placer="P1").model_copy(update={"placer_order_number": elsewhere})
        async with store.correlation("a") as rows:
            await rows.put_order(named("placer", order(placer="P1")))
            await rows.put_order(named("filler", order(filler="F1")))
            await rows.put_order(named("all", order(placer="P1", filler="F1", accession="A1")))
            await rows.put_order(named("stranger", stranger))
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
                await rows.put_order(named(f"order {n}", order(placer=f"P{n}")))
            assert names(await rows.orders_sharing(placers)) == ["order 1", "order 500", "order 999"]

    async def test_an_order_comes_back_as_it_was_put_once_however_often_put(self, store: CaseStore) -> None:
        once = order(placer="P1", filler="F1", accession="A1")
        for _ in range(3):
            async with store.correlation("a") as rows:
                await rows.put_order(once)
        async with store.correlation("a") as rows:
            (found,) = await rows.orders_sharing({PLACER})
        assert found.model_dump() == once.model_dump()

    async def test_an_order_event_that_changed_an_order_says_so(self, store: CaseStore) -> None:
        async with store.correlation("a") as rows:
            await rows.put_order(order(placer="P1"))
            await rows.put_order(order(placer="P1", changed=True))
        async with store.correlation("a") as rows:
            found = await rows.orders_sharing({PLACER})
        assert [isinstance(event, OrderChanged) for event in found] == [False, True]

    async def test_orders_of_patients(self, store: CaseStore) -> None:
        async with store.correlation("a") as rows:
            await rows.put_order(named("both", order(placer="P1", patients=(JANE, CITIZEN))))
            await rows.put_order(named("nobody", order(placer="P1", patients=())))
            for _ in range(2):
                await rows.put_order(named("citizen", order(filler="F1", changed=True, patients=(CITIZEN,))))
            assert names(await rows.orders_of_patients({JANE})) == ["both"]
            both = await rows.orders_of_patients({CITIZEN, JANE, JANE_BEFORE})
            assert names(both) == ["both", "citizen"]
            assert [isinstance(event, OrderChanged) for event in both] == [False, True]
            assert await rows.orders_of_patients({JANE_BEFORE}) == []
            assert await rows.orders_of_patients(()) == []

    async def test_patient_events_are_found_by_all_they_name_and_come_back_as_they_were_put(self, store: CaseStore) -> None:
        merged = merge(JANE_BEFORE, into=[JANE, CITIZEN])
        unlinked = PatientUnlinked(**dict(merged))  # the same bytes, but not the same word
        updated = update(JANE, CITIZEN)
        async with store.correlation("a") as rows:
            for event in (merged, unlinked, updated, merged):
                await rows.put_patient(event)
        async with store.correlation("a") as rows:
            assert await rows.patient_events({JANE_BEFORE}) == [merged, unlinked]
            assert await rows.patient_events({CITIZEN, JANE}) == [merged, unlinked, updated]
            assert await rows.patient_events(()) == []

    async def test_of_patient_events_that_say_the_same_the_newest_of_the_sender_counts(self, store: CaseStore) -> None:
        first = named("first", update(JANE, CITIZEN, at=2))
        for event, newest in (
            (first, ["first"]),
            (named("late and older", update(JANE, CITIZEN, at=1)), ["first"]),
            (named("before the epoch", update(JANE, CITIZEN, at=-60_000_000)), ["first"]),
            (named("another sender", update(JANE, CITIZEN, sender="RIS", at=1)), ["first", "another sender"]),
            (named("another order", update(CITIZEN, JANE, at=1)), ["first", "another sender", "another order"]),
            (named("9", update(JANE, CITIZEN, at=2, msh13=9)), ["another sender", "another order", "9"]),
            (named("10", update(JANE, CITIZEN, at=2, msh13=10)), ["another sender", "another order", "10"]),
            (named("10 again", update(JANE, CITIZEN, at=2, msh13=10)), ["another sender", "another order", "10 again"]),
            (first, ["another sender", "another order", "10 again"]),
            (named("newer", update(JANE, CITIZEN, at=2.1, msh13=1)), ["another sender", "another order", "newer"]),
        ):
            async with store.correlation("a") as rows:
                await rows.put_patient(event)
                assert names(await rows.patient_events({JANE})) == newest

    async def test_many_patients_at_once(self, store: CaseStore) -> None:
        patients = [PatientIdentifier(value=f"{n}", assigner="HOSPITAL") for n in range(1000)]
        async with store.correlation("a") as rows:
            for n in (1, 500, 999):
                await rows.put_patient(named(f"update {n}", update(patients[n], CITIZEN)))
                await rows.put_order(named(f"order {n}", order(placer="P1", patients=(patients[n],))))
                await rows.put_study(study(f"1.2.{n}", patient=patients[n]))
            assert names(await rows.patient_events(patients)) == ["update 1", "update 500", "update 999"]
            assert names(await rows.orders_of_patients(patients)) == ["order 1", "order 500", "order 999"]
            assert await rows.studies_of_patients(patients) == ["1.2.1", "1.2.500", "1.2.999"]

    async def test_studies_of_patients(self, store: CaseStore) -> None:
        async with store.correlation("a") as rows:
            await rows.put_study(study(patient=JANE_BEFORE))
            await rows.put_study(study())
            await rows.put_study(study(at=1))
            await rows.put_study(study("1.2.4", patient=None))
            for patients in ({JANE}, {JANE_BEFORE}, {JANE, JANE_BEFORE, CITIZEN}):
                assert await rows.studies_of_patients(patients) == [STUDY]
            assert await rows.studies_of_patients({CITIZEN}) == []

    async def test_a_study_keeps_its_events_in_order_of_arrival_each_once(self, store: CaseStore) -> None:
        first, second = study(), study(accession=None)
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
        async with store.correlation("a") as rows:
            await rows.put_study(study("1.2.9"))
            await rows.put_study(study("1.2.8"))
            await rows.put_study(study("1.2.8", accession=None))
            await rows.put_study(study("1.2.7", accession=None))
            found = await rows.studies_of(ACCESSION)
        assert [state.events[0].study_instance_uid for state in found] == ["1.2.8", "1.2.9"]
        assert len(found[0].events) == 2

    async def test_what_was_told_is_kept_to_the_byte_and_replaced(self, store: CaseStore) -> None:
        async with store.correlation("a") as rows:
            await rows.put_study(study())
            await rows.put_told(STUDY, Told("one", 1, "ai.requests", b'{"a": 1.50}\x00\xff'))
        async with store.correlation("a") as rows:
            assert await told(rows, STUDY) == Told("one", 1, "ai.requests", b'{"a": 1.50}\x00\xff')
            await rows.put_told(STUDY, Told("two", 2, "ai.results", b""))
            assert await told(rows, STUDY) == Told("two", 2, "ai.results", b"")

    async def test_which_event_made_the_state(self, store: CaseStore) -> None:
        one, other = uuid5(NAMESPACE, "one"), uuid5(NAMESPACE, "other")
        async with store.correlation("a") as rows:
            for uid in ("1.2.9", "1.2.8"):
                await rows.put_study(study(uid))
                await rows.put_told(StudyInstanceUID(uid), Told("one", 1, "t", b"", one))
        async with store.correlation("a") as rows:
            assert await rows.told_because(one) == ["1.2.8", "1.2.9"]
            assert await rows.told_because(other) == []
            await rows.put_told(StudyInstanceUID("1.2.8"), Told("two", 2, "t", b"", other))
            await rows.put_told(StudyInstanceUID("1.2.9"), Told("two", 2, "t", b""))  # a timer
            assert await rows.told_because(one) == []
            assert await rows.told_because(other) == ["1.2.8"]
            assert await told(rows, StudyInstanceUID("1.2.8")) == Told("two", 2, "t", b"", other)

    async def test_which_services_have_a_report_beside_the_usual_one(self, store: CaseStore) -> None:
        async with store.correlation("a") as rows:
            await rows.put_service(STUDY, "devices")  # before anything else is known of it, as after a loss of the tables
            assert await rows.study(STUDY) is None
            for done in (study("1.2.3"), study("1.2.4")):
                await rows.put_study(done)
        async with store.correlation("a") as rows:
            for service in ("devices", "bones", "devices"):
                await rows.put_service(STUDY, service)
        async with store.correlation("a") as rows:
            await rows.put_told(STUDY, Told("digest", 1, "ai.requests", b"x"))
            states = [await rows.study(uid) for uid in (STUDY, StudyInstanceUID("1.2.4"))]
            assert [state.services for state in states if state is not None] == [("bones", "devices"), ()]
            (found, _) = await rows.studies_of(ACCESSION)
            assert found.services == ("bones", "devices")

    async def test_how_many_others_came_without_an_order(self, store: CaseStore) -> None:
        hour, tick = timedelta(hours=1), timedelta(microseconds=1)

        async def others(study: str, at: float = 0) -> int:
            async with store.correlation("a") as rows:
                return await rows.without_order_before(StudyInstanceUID(study), minutes(at), hour)

        assert await others("1.2.3") == 0
        moments = {"1.1": -hour, "1.2": -hour + tick, "1.3": timedelta(), "1.4": timedelta(), "1.5": tick}
        async with store.correlation("a") as rows:
            for uid, moment in moments.items():
                await rows.put_without_order(StudyInstanceUID(uid), minutes(0) + moment)
        assert await others("1.2.3") == 3, "neither an hour before nor after"
        assert await others("1.3") == 2, "a study is none of the others"
        async with store.correlation("a") as rows:
            await rows.put_without_order(StudyInstanceUID("1.3"), minutes(99))
        assert await others("1.3", at=99) == 2, "its first moment counts"
        assert await others("1.2.3") == 3

    async def test_a_database_made_before_patients_were_looked_up(self, url: str, store: CaseStore) -> None:
        first = SqlCaseStore(url)
        async with first.correlation("a") as rows:
            await rows.put_order(named("order", order(placer="P1", patients=(JANE, CITIZEN))))
            await rows.put_study(study(patient=JANE_BEFORE))
            await rows.put_study(study(patient=JANE_BEFORE, accession=None))
        newer = ("order_changes", "order_patients", "patients", "patient_words", "study_patients", "told_because", "without_order")
        await first._database.write(lambda connection: [connection.exec_driver_sql(f"DROP TABLE {table}") for table in newer])
        await first.close()
        async with store.correlation("a") as rows:
            assert names(await rows.orders_of_patients({CITIZEN})) == ["order"]
            assert await rows.studies_of_patients({JANE_BEFORE}) == [STUDY]
            assert await rows.patient_events({JANE}) == []

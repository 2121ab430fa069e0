"""The correlation tables inside one transaction (port `Correlation`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Connection, Table, func, select

from connectors.case_store import due_items, events
from connectors.case_store.database import Transaction
from connectors.case_store.hearings import SqlHearings
from connectors.case_store.tables import (
    microseconds,
    order_changes,
    order_patients,
    order_replaced,
    orders,
    patient_words,
    patients,
    services,
    studies,
    study_patients,
    told,
    told_because,
    without_order,
)
from schemas.case_store import Due, OrderNumber, StudyState, Told
from schemas.events import OrderChanged, OrderEvent, PatientEvent
from schemas.identifiers import (
    AccessionNumber,
    FillerOrderNumber,
    PatientIdentifier,
    PlacerOrderNumber,
    StudyInstanceUID,
)
from schemas.study_events import StudyCompleted

_COLUMNS = (
    (PlacerOrderNumber, orders.c.placer_order_number),
    (FillerOrderNumber, orders.c.filler_order_number),
    (AccessionNumber, orders.c.accession_number),
)


class SqlCorrelation(SqlHearings):
    """Orders, patients and studies as the set of their events, each once: its identity is the digest of its bytes."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    @property
    def locks_everything(self) -> bool:
        return self._transaction.database.has_one_writer

    async def put_order(self, order: OrderEvent) -> None:
        row = events.order_row(order)
        changes = [{"digest": row["digest"]}] if isinstance(order, OrderChanged) else []
        await self._put_once(
            (orders, [row]),
            (order_changes, changes),
            (order_replaced, events.order_replaced_rows(order)),
            (order_patients, events.order_patient_rows(order)),
        )

    async def orders_sharing(self, numbers: Collection[OrderNumber]) -> Sequence[OrderEvent]:
        def read(connection: Connection) -> Sequence[OrderEvent]:
            found: dict[int, OrderEvent] = {}
            for kind, column in _COLUMNS:
                found |= events.orders_where(connection, column, _texts(n for n in numbers if isinstance(n, kind)))
            digests = _digests(connection, order_replaced.c.number, map(events.kind_and_text_of, numbers))
            found |= events.orders_where(connection, orders.c.digest, digests)
            return [found[arrival] for arrival in sorted(found)]

        return await self._transaction.run(read)

    async def orders_of_patients(self, patients: Collection[PatientIdentifier]) -> Sequence[OrderEvent]:
        def read(connection: Connection) -> Sequence[OrderEvent]:
            digests = _digests(connection, order_patients.c.patient, _texts(patients))
            found = events.orders_where(connection, orders.c.digest, digests)
            return [found[arrival] for arrival in sorted(found)]

        return await self._transaction.run(read)

    async def put_patient(self, event: PatientEvent) -> None:
        await self._put_once((patients, [events.patient_row(event)]), (patient_words, events.patient_word_rows(event)))

    async def patient_events(self, patients: Collection[PatientIdentifier]) -> Sequence[PatientEvent]:
        def read(connection: Connection) -> Sequence[PatientEvent]:
            found = events.patient_events_of(connection, _texts(patients))
            return [found[arrival] for arrival in sorted(found)]

        return await self._transaction.run(read)

    async def put_study(self, completed: StudyCompleted) -> None:
        await self._put_once((studies, [events.study_row(completed)]), (study_patients, events.study_patient_rows(completed)))

    async def study(self, study: StudyInstanceUID) -> StudyState | None:
        return await self._transaction.run(lambda connection: _study(connection, study))

    async def studies_of(self, accession: AccessionNumber) -> Sequence[StudyState]:
        query = select(studies.c.study_instance_uid).where(studies.c.accession_number == events.text_of(accession)).distinct()

        def read(connection: Connection) -> list[StudyState]:
            uids = sorted(connection.scalars(query))
            return [state for uid in uids if (state := _study(connection, uid)) is not None]

        return await self._transaction.run(read)

    async def studies_of_patients(self, patients: Collection[PatientIdentifier]) -> Sequence[StudyInstanceUID]:
        def read(connection: Connection) -> Sequence[StudyInstanceUID]:
            uids: set[str] = set()
            for some in events.in_turns(_texts(patients)):
                query = select(study_patients.c.study_instance_uid).where(study_patients.c.patient.in_(some))
                uids |= set(connection.scalars(query))
            return [StudyInstanceUID(uid) for uid in sorted(uids)]

        return await self._transaction.run(read)

    async def put_told(self, study: StudyInstanceUID, now: Told) -> None:
        values = {"identity": now.identity, "sequence": now.sequence, "topic": now.topic, "value": now.value}
        insert = self._transaction.database.insert(told).values(study_instance_uid=study, **values)
        insert = insert.on_conflict_do_update(index_elements=["study_instance_uid"], set_=values)
        forget = told_because.delete().where(told_because.c.study_instance_uid == study)
        because = told_because.insert().values(study_instance_uid=study, event=str(now.because))

        def write(connection: Connection) -> None:
            connection.execute(insert)
            connection.execute(forget)
            if now.because is not None:
                connection.execute(because)

        await self._transaction.run(write)

    async def put_service(self, study: StudyInstanceUID, service: str) -> None:
        await self._put_once((services, [{"study_instance_uid": study, "service": service}]))

    async def told_because(self, event: UUID) -> Sequence[StudyInstanceUID]:
        query = select(told_because.c.study_instance_uid).where(told_because.c.event == str(event))
        uids = await self._transaction.run(lambda connection: connection.scalars(query).all())
        return [StudyInstanceUID(uid) for uid in sorted(uids)]

    async def put_without_order(self, study: StudyInstanceUID, at: datetime) -> None:
        await self._put_once((without_order, [{"study_instance_uid": study, "at": microseconds(at)}]))

    async def without_order_before(self, study: StudyInstanceUID, at: datetime, within: timedelta) -> int:
        own = select(without_order.c.at).where(without_order.c.study_instance_uid == study)

        def read(connection: Connection) -> int:
            moment = connection.scalar(own)
            last = microseconds(at) if moment is None else moment
            after = last - within // timedelta(microseconds=1)
            others = select(func.count()).where(without_order.c.at > after, without_order.c.at <= last)
            return connection.scalar(others.where(without_order.c.study_instance_uid != study)) or 0

        return await self._transaction.run(read)

    async def put_due(self, due: Due) -> None:
        statement = due_items.put(self._transaction.database, due)
        await self._transaction.run(lambda connection: connection.execute(statement))

    async def remove_due(self, due_id: UUID) -> None:
        await self._transaction.run(lambda connection: connection.execute(due_items.remove(due_id)))

    async def _put_once(self, *rows_of: tuple[Table, list[dict[str, Any]]]) -> None:
        def write(connection: Connection) -> None:
            for table, rows in rows_of:
                if rows:
                    connection.execute(self._transaction.database.insert(table).on_conflict_do_nothing(), rows)

        await self._transaction.run(write)


def _study(connection: Connection, study: str) -> StudyState | None:
    query = select(studies.c.event).where(studies.c.study_instance_uid == study).order_by(studies.c.arrival)
    seen = tuple(StudyCompleted.model_validate_json(event) for event in connection.scalars(query))
    if not seen:
        return None
    joined = told.outerjoin(told_because, told.c.study_instance_uid == told_because.c.study_instance_uid)
    query_told = select(told, told_because.c.event).select_from(joined).where(told.c.study_instance_uid == study)
    row = connection.execute(query_told).one_or_none()
    query_services = select(services.c.service).where(services.c.study_instance_uid == study)
    known = tuple(sorted(connection.scalars(query_services)))
    if row is None:
        return StudyState(seen, services=known)
    because = None if row.event is None else UUID(row.event)
    return StudyState(seen, Told(row.identity, row.sequence, row.topic, row.value, because), known)


def _digests(connection: Connection, column: Column[Any], keys: Iterable[str]) -> set[str]:
    """Of the order events that a look-up table finds by the keys in `column`."""
    found: set[str] = set()
    for some in events.in_turns(keys):
        found |= set(connection.scalars(select(column.table.c.digest).where(column.in_(some))))
    return found


def _texts(numbers: Iterable[OrderNumber | PatientIdentifier]) -> list[str]:
    return sorted(filter(None, map(events.text_of, numbers)))

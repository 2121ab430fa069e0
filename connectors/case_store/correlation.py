"""The correlation tables inside one transaction (port `Correlation`)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import Connection, or_, select

from connectors.case_store import due_items
from connectors.case_store.database import Transaction
from connectors.case_store.tables import orders, studies, told
from schemas.events import OrderEvent, StudyCompleted
from schemas.identifiers import AccessionNumber, FillerOrderNumber, PlacerOrderNumber, StudyInstanceUID
from schemas.ports import Due, OrderNumber, StudyState, Told

#: SQLite allows 999 parameters and more; PostgreSQL 65,535
_NUMBERS_AT_A_TIME = 300


class SqlCorrelation:
    """Orders and studies as the set of their events, each once: its identity is the digest of its bytes."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def put_order(self, order: OrderEvent) -> None:
        value = _value(order)
        row = {
            "digest": _digest(value),
            "placer_order_number": _text(order.placer_order_number),
            "filler_order_number": _text(order.filler_order_number),
            "accession_number": _text(order.accession_number),
            "event": value,
        }
        insert = self._transaction.database.insert(orders).on_conflict_do_nothing(index_elements=["digest"])
        await self._transaction.run(lambda connection: connection.execute(insert, row))

    async def orders_sharing(
        self, numbers: Collection[OrderNumber], accession: AccessionNumber | None = None
    ) -> Sequence[OrderEvent]:
        listed = sorted(numbers, key=str)

        def read(connection: Connection) -> list[OrderEvent]:
            found: dict[int, bytes] = {}
            for start in range(0, len(listed), _NUMBERS_AT_A_TIME):
                some = listed[start : start + _NUMBERS_AT_A_TIME]
                query = select(orders.c.arrival, orders.c.event).where(
                    or_(
                        orders.c.placer_order_number.in_([str(n) for n in some if isinstance(n, PlacerOrderNumber)]),
                        orders.c.filler_order_number.in_([str(n) for n in some if isinstance(n, FillerOrderNumber)]),
                        orders.c.accession_number.in_([str(n) for n in some if isinstance(n, AccessionNumber)]),
                    )
                )
                if accession is not None:
                    here = orders.c.accession_number
                    query = query.where(or_(here.is_(None), here == str(accession)))
                for arrival, event in connection.execute(query):
                    found[arrival] = event
            # which class an order event had is not in its bytes, and nothing needs it: what it says is
            return [OrderEvent.model_validate_json(found[arrival]) for arrival in sorted(found)]

        return await self._transaction.run(read)

    async def put_study(self, completed: StudyCompleted) -> None:
        value = _value(completed)
        row = {
            "digest": _digest(value),
            "study_instance_uid": completed.study_instance_uid,
            "accession_number": _text(completed.accession_number),
            "event": value,
        }
        insert = self._transaction.database.insert(studies).on_conflict_do_nothing(index_elements=["digest"])
        await self._transaction.run(lambda connection: connection.execute(insert, row))

    async def study(self, study: StudyInstanceUID) -> StudyState | None:
        return await self._transaction.run(lambda connection: _study(connection, study))

    async def studies_of(self, accession: AccessionNumber) -> Sequence[StudyState]:
        query = select(studies.c.study_instance_uid).where(studies.c.accession_number == str(accession)).distinct()

        def read(connection: Connection) -> list[StudyState]:
            uids = sorted(connection.scalars(query))
            return [state for uid in uids if (state := _study(connection, uid)) is not None]

        return await self._transaction.run(read)

    async def put_told(self, study: StudyInstanceUID, now: Told) -> None:
        values = {"identity": now.identity, "sequence": now.sequence, "topic": now.topic, "value": now.value}
        insert = self._transaction.database.insert(told).values(study_instance_uid=study, **values)
        insert = insert.on_conflict_do_update(index_elements=["study_instance_uid"], set_=values)
        await self._transaction.run(lambda connection: connection.execute(insert))

    async def put_due(self, due: Due) -> None:
        statement = due_items.put(self._transaction.database, due)
        await self._transaction.run(lambda connection: connection.execute(statement))

    async def remove_due(self, due_id: UUID) -> None:
        await self._transaction.run(lambda connection: connection.execute(due_items.remove(due_id)))


def _study(connection: Connection, study: str) -> StudyState | None:
    query = select(studies.c.event).where(studies.c.study_instance_uid == study).order_by(studies.c.arrival)
    events = tuple(StudyCompleted.model_validate_json(event) for event in connection.scalars(query))
    row = connection.execute(select(told).where(told.c.study_instance_uid == study)).one_or_none()
    last = None if row is None else Told(row.identity, row.sequence, row.topic, row.value)
    return StudyState(events, last) if events else None


def _value(event: OrderEvent | StudyCompleted) -> bytes:
    return event.model_dump_json().encode("utf-8")


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def _text(number: OrderNumber | None) -> str | None:
    return None if number is None else str(number)

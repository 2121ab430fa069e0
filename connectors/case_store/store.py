"""The case store (port `CaseStore`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Select, and_, delete, or_, select

from connectors.case_store import due_items
from connectors.case_store.correlation import SqlCorrelation
from connectors.case_store.database import Database
from connectors.case_store.tables import analyses, deliveries, due, microseconds, moment, positions, timeline
from connectors.case_store.tellings import SqlTellings
from connectors.case_store.traces import SqlTraces
from schemas.case_store import Correlation, Delivery, Due, TimelineEntry
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Place


class SqlCaseStore(SqlTellings, SqlTraces):
    """`url`: sqlite:///FILE (several processes of one machine may share it) or postgresql://... (several machines).
    `durable`: see Database.

    Raises SettingsInvalid for another URL. Every method raises StoreUnavailable when the database does not answer in time,
    and InvalidResource for a value it cannot hold."""

    def __init__(self, url: str, *, durable: bool = True) -> None:
        self._database = Database(url, durable=durable)

    def correlation(self, *cases: str) -> AbstractAsyncContextManager[Correlation]:
        return self._correlation(cases)

    @asynccontextmanager
    async def _correlation(self, cases: tuple[str, ...]) -> AsyncIterator[Correlation]:
        async with self._database.locked(cases) as transaction:
            yield SqlCorrelation(transaction)

    async def put_due(self, item: Due) -> None:
        statement = due_items.put(self._database, item)
        await self._database.write(lambda connection: connection.execute(statement))

    async def due_before(self, moment: datetime, limit: int = 100) -> Sequence[Due]:
        """Those whose time has come at `moment`, the longest due first."""
        query = select(due).where(due.c.not_before <= microseconds(moment)).order_by(due.c.not_before, due.c.id).limit(limit)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [due_items.from_row(row) for row in rows]

    async def remove_due(self, due_id: UUID) -> None:
        await self._database.write(lambda connection: connection.execute(due_items.remove(due_id)))

    async def delivered(self, destination: str, study: StudyInstanceUID) -> Delivery | None:
        here = and_(deliveries.c.destination == destination, deliveries.c.study_instance_uid == study)
        row = await self._database.read(lambda connection: connection.execute(select(deliveries).where(here)).one_or_none())
        if row is None:
            return None
        return Delivery(destination, study, UUID(row.analysis_id), row.sequence, row.acknowledgement)

    async def put_delivery(self, delivery: Delivery) -> None:
        values = {
            "analysis_id": str(delivery.analysis_id),
            "sequence": delivery.sequence,
            "acknowledgement": delivery.acknowledgement,
        }
        insert = self._database.insert(deliveries).values(
            destination=delivery.destination, study_instance_uid=delivery.study_instance_uid, **values
        )
        insert = insert.on_conflict_do_update(
            index_elements=["destination", "study_instance_uid"],
            set_=values,
            where=deliveries.c.sequence < insert.excluded.sequence,
        )
        await self._database.write(lambda connection: connection.execute(insert))

    async def position(self, source: str) -> str | None:
        query = select(positions.c.position).where(positions.c.source == source)
        return await self._database.read(lambda connection: connection.scalar(query))

    async def put_position(self, source: str, position: str) -> None:
        insert = self._database.insert(positions).values(source=source, position=position)
        insert = insert.on_conflict_do_update(index_elements=["source"], set_={"position": position})
        await self._database.write(lambda connection: connection.execute(insert))

    async def remove_position(self, source: str) -> None:
        await self._database.write(lambda connection: connection.execute(delete(positions).where(positions.c.source == source)))

    async def put_analysis(self, analysis_id: UUID, value: bytes) -> bytes:
        insert = (
            self._database.insert(analyses).values(id=str(analysis_id), value=value).on_conflict_do_nothing(index_elements=["id"])
        )
        await self._database.write(lambda connection: connection.execute(insert))
        return await self.analysis(analysis_id) or value

    async def analysis(self, analysis_id: UUID) -> bytes | None:
        query = select(analyses.c.value).where(analyses.c.id == str(analysis_id))
        value = await self._database.read(lambda connection: connection.scalar(query))
        return None if value is None else bytes(value)

    async def put_timeline(self, entry: TimelineEntry, names: Collection[str] | None = None, cause: Place | None = None) -> None:
        accession = entry.accession_number
        insert = (
            self._database.insert(timeline)
            .values(
                topic=entry.place.topic,
                partition=entry.place.partition,
                offset=entry.place.offset,
                at=microseconds(entry.at),
                type=entry.type,
                what=entry.what,
                study_instance_uid=entry.study_instance_uid,
                accession_number=accession,
                accession_value=None if accession is None else accession.rpartition("^")[0] or accession,
            )
            .on_conflict_do_nothing(index_elements=["topic", "partition", "offset"])
            .returning(timeline.c.sequence)
        )

        def put(connection: Connection) -> None:
            new = connection.scalar(insert)
            if names is not None:
                line = connection.execute(_line_at(entry.place)).scalar_one() if new is None else new
                self._put_trace(connection, line, entry.place, names, cause)

        await self._database.write(put)

    async def timeline(self, accession_number: str) -> Sequence[TimelineEntry]:
        named = or_(timeline.c.accession_number == accession_number, timeline.c.accession_value == accession_number)
        studies = select(timeline.c.study_instance_uid).where(named, timeline.c.study_instance_uid.is_not(None))
        query = (
            select(timeline)
            .where(or_(named, timeline.c.study_instance_uid.in_(studies)))
            .order_by(timeline.c.at, timeline.c.sequence)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [
            TimelineEntry(
                at=moment(row.at),
                place=Place(row.topic, row.partition, row.offset),
                type=row.type,
                what=row.what,
                study_instance_uid=row.study_instance_uid,
                accession_number=row.accession_number,
            )
            for row in rows
        ]

    async def close(self) -> None:
        """Releases connections and threads."""
        await self._database.close()


def _line_at(place: Place) -> Select[int]:
    here = and_(timeline.c.topic == place.topic, timeline.c.partition == place.partition, timeline.c.offset == place.offset)
    return select(timeline.c.sequence).where(here)

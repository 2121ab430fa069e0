"""Answers heard, reports, recalled models and discrepancies, inside one transaction (port `Hearings`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, or_, select, update

from connectors.case_store import events
from connectors.case_store.database import Transaction
from connectors.case_store.hearing_tables import acknowledged_discrepancies, discrepancies, heard, recalled_models, reports
from connectors.case_store.tables import microseconds, moment
from schemas.events import REPORT_EVENTS, ReportEvent
from schemas.findings import OrderReference, Subject
from schemas.hearings import Discrepancy, Heard
from schemas.identifiers import StudyInstanceUID
from schemas.model_events import ModelRecalled
from schemas.ports import Place


class SqlHearings:
    """See Hearings."""

    _transaction: Transaction

    async def put_report(self, report: ReportEvent) -> None:
        value = events.value_of(report)
        line = report.placer_order_number, report.filler_order_number
        placer, filler = line if _has_no_accession_of_its_own(report) else (None, None)
        row = {
            "digest": events.digest_of(report.TYPE.encode("ascii") + value),
            "type": report.TYPE,
            "placer_order_number": events.text_of(placer),
            "filler_order_number": events.text_of(filler),
            "accession_number": events.text_of(report.accession_number),
            "event": value,
        }
        await self._keep_first(reports, row)

    async def reports_of(self, subject: Subject) -> Sequence[ReportEvent]:
        numbers = {subject.accession_number, *(order.accession_number for order in subject.orders)}
        accessions = sorted(number.text for number in numbers if number is not None)
        where: list[ColumnElement[bool]] = [reports.c.accession_number.in_(some) for some in events.in_turns(accessions)]
        where += [line for order in subject.orders if (line := _of_line(order)) is not None]

        def read(connection: Connection) -> Sequence[ReportEvent]:
            found: dict[int, ReportEvent] = {}
            for condition in where:
                query = select(reports.c.arrival, reports.c.type, reports.c.event).where(condition)
                for arrival, type, event in connection.execute(query):
                    found[arrival] = REPORT_EVENTS[type].model_validate_json(event)
            return [found[arrival] for arrival in sorted(found)]

        return await self._transaction.run(read)

    async def put_heard(self, said: Heard) -> Heard:
        name, version = said.model or (None, None)
        row = {
            "study_instance_uid": said.study_instance_uid,
            "service": said.service,
            "sequence": said.sequence,
            "analysis_id": str(said.analysis_id),
            "value": said.value,
            "came_at": microseconds(said.came_at),
            "model_name": name,
            "model_version": version,
            "verified_at": None if said.verified_at is None else microseconds(said.verified_at),
            "because": None if said.because is None else str(said.because),
            "place": None if said.place is None else str(said.place),
            "traceparent": said.traceparent,
        }
        await self._keep_first(heard, row)
        query = select(heard).where(_this(said))
        return _heard(await self._transaction.run(lambda connection: connection.execute(query).one()))

    async def mark_heard(self, said: Heard) -> None:
        assert said.verified_at is not None
        values = {"verified_at": microseconds(said.verified_at), "because": None if said.because is None else str(said.because)}
        statement = update(heard).where(_this(said), heard.c.verified_at.is_(None)).values(values)
        await self._transaction.run(lambda connection: connection.execute(statement))

    async def heard_of(self, study: StudyInstanceUID) -> Sequence[Heard]:
        query = select(heard).where(heard.c.study_instance_uid == study)
        query = query.order_by(heard.c.service, heard.c.sequence, heard.c.analysis_id)
        return [_heard(row) for row in await self._transaction.run(lambda connection: connection.execute(query).all())]

    async def put_recalled(self, event: ModelRecalled) -> ModelRecalled:
        await self._keep_first(recalled_models, {"name": event.name, "version": event.version, "event": events.value_of(event)})
        return await self.recalled(event.name, event.version) or event

    async def recalled(self, name: str, version: str) -> ModelRecalled | None:
        here = and_(recalled_models.c.name == name, recalled_models.c.version == version)
        query = select(recalled_models.c.event).where(here)
        event = await self._transaction.run(lambda connection: connection.scalar(query))
        return None if event is None else ModelRecalled.model_validate_json(event)

    async def studies_heard_from(self, name: str, version: str, after: str, limit: int) -> Sequence[StudyInstanceUID]:
        study = heard.c.study_instance_uid
        query = select(study).where(heard.c.model_name == name, heard.c.model_version == version, study > after)
        query = query.distinct().order_by(study).limit(limit)
        uids = await self._transaction.run(lambda connection: connection.scalars(query).all())
        return [StudyInstanceUID(uid) for uid in uids]

    async def put_discrepancy(self, found: Discrepancy) -> None:
        values = {
            "study_instance_uid": found.study_instance_uid,
            "service": found.service,
            "analysis_id": str(found.analysis_id),
            "sequence": found.sequence,
            "event": found.event,
            "withdrawn_by": None if found.withdrawn_by is None else str(found.withdrawn_by),
            "withdrawn_sequence": found.withdrawn_sequence,
        }
        insert = self._transaction.database.insert(discrepancies).values(discrepancy_id=str(found.discrepancy_id), **values)
        insert = insert.on_conflict_do_update(index_elements=["discrepancy_id"], set_=values)
        await self._transaction.run(lambda connection: connection.execute(insert))

    async def discrepancies_of(self, study: StudyInstanceUID) -> Sequence[Discrepancy]:
        acknowledged = acknowledged_discrepancies.c.discrepancy_id
        joined = discrepancies.outerjoin(acknowledged_discrepancies, discrepancies.c.discrepancy_id == acknowledged)
        query = select(discrepancies, acknowledged.label("acknowledged")).select_from(joined)
        query = query.where(discrepancies.c.study_instance_uid == study).order_by(discrepancies.c.discrepancy_id)
        return [_discrepancy(row) for row in await self._transaction.run(lambda connection: connection.execute(query).all())]

    async def put_acknowledged(self, discrepancy_id: UUID) -> None:
        await self._keep_first(acknowledged_discrepancies, {"discrepancy_id": str(discrepancy_id)})

    async def _keep_first(self, table: Table, row: dict[str, Any]) -> None:
        insert = self._transaction.database.insert(table).values(row).on_conflict_do_nothing()
        await self._transaction.run(lambda connection: connection.execute(insert))


def _has_no_accession_of_its_own(report: ReportEvent) -> bool:
    """It has none, or its filler order number stands for one that was not sent."""
    accession, filler = report.accession_number, report.filler_order_number
    return accession is None or (filler is not None and filler.value == accession.value)


def _of_line(order: OrderReference) -> ColumnElement[bool] | None:
    """They share a number of the order, and contradict each other in none. Some senders write a constant as placer number."""
    placer, filler = events.text_of(order.placer_order_number), events.text_of(order.filler_order_number)
    by_placer, by_filler = reports.c.placer_order_number, reports.c.filler_order_number
    if placer is None or filler is None:
        return by_filler == filler if filler is not None else by_placer == placer if placer is not None else None
    return or_(
        and_(by_placer == placer, by_filler == filler),
        and_(by_placer == placer, by_filler.is_(None)),
        and_(by_filler == filler, by_placer.is_(None)),
    )


def _place(text: str) -> Place:
    """Raises ValueError: what was kept is no place."""
    place = Place.parse(text)
    if place is None:
        raise ValueError("the column heard.place holds what is no place")
    return place


def _this(said: Heard) -> ColumnElement[bool]:
    return and_(
        heard.c.study_instance_uid == said.study_instance_uid,
        heard.c.service == said.service,
        heard.c.sequence == said.sequence,
        heard.c.analysis_id == str(said.analysis_id),
    )


def _heard(row: Row[Any]) -> Heard:
    return Heard(
        study_instance_uid=StudyInstanceUID(row.study_instance_uid),
        service=row.service,
        sequence=row.sequence,
        analysis_id=UUID(row.analysis_id),
        value=bytes(row.value),
        came_at=moment(row.came_at),
        model=None if row.model_name is None else (row.model_name, row.model_version),
        verified_at=None if row.verified_at is None else moment(row.verified_at),
        because=None if row.because is None else UUID(row.because),
        place=None if row.place is None else _place(row.place),
        traceparent=row.traceparent,
    )


def _discrepancy(row: Row[Any]) -> Discrepancy:
    return Discrepancy(
        discrepancy_id=UUID(row.discrepancy_id),
        study_instance_uid=StudyInstanceUID(row.study_instance_uid),
        service=row.service,
        analysis_id=UUID(row.analysis_id),
        sequence=row.sequence,
        event=bytes(row.event),
        withdrawn_by=None if row.withdrawn_by is None else UUID(row.withdrawn_by),
        withdrawn_sequence=row.withdrawn_sequence,
        acknowledged=row.acknowledged is not None,
    )

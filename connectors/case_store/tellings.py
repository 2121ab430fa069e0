"""What destinations were told, and the view of latest states (port `Tellings`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, Connection, Integer, LargeBinary, Row, String, Table, and_, select, update

from connectors.case_store.database import Database
from connectors.case_store.tables import metadata
from schemas.findings import ServiceName
from schemas.identifiers import StudyInstanceUID
from schemas.tellings import Telling

#: `inform` alone writes here
tellings = Table(
    "tellings",
    metadata,
    Column("destination", String, primary_key=True),
    Column("study_instance_uid", String(64), primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("findings", LargeBinary, nullable=False),
    Column("answered", Boolean, nullable=False),
    Column("acknowledgement", String, nullable=False),
    Column("held", LargeBinary),
    Column("unanswered", LargeBinary, nullable=False),  # JSON: a list of the texts
)

#: who was told that a discrepancy was escalated: `warn` alone writes here
warned_discrepancies = Table(
    "warned_discrepancies",
    metadata,
    Column("receiver", String, primary_key=True),
    Column("discrepancy_id", String(36), primary_key=True),
)

#: a view: `project` alone writes here
latest_states = Table(
    "latest_states",
    metadata,
    Column("topic", String, primary_key=True),
    Column("study_instance_uid", String(64), primary_key=True),
    Column("service", String(64), primary_key=True),
    Column("sequence", Integer, nullable=False),
)


class SqlTellings:
    """See Tellings."""

    _database: Database

    async def begin_telling(self, destination: str, study: StudyInstanceUID, sequence: int, findings: bytes) -> Telling:
        here = and_(tellings.c.destination == destination, tellings.c.study_instance_uid == study)
        first = Telling(sequence, findings)
        insert = self._database.insert(tellings).values(destination=destination, study_instance_uid=study, **_values(first))
        insert = insert.on_conflict_do_nothing(index_elements=["destination", "study_instance_uid"])

        def begin(connection: Connection) -> Telling:
            # an insertion says what it did by what it returns: PostgreSQL's rowcount may be -1
            if connection.execute(insert.returning(tellings.c.sequence)).first() is not None:
                return first
            kept = _telling(connection.execute(select(tellings).where(here).with_for_update()).one())
            if kept.sequence >= sequence:
                return kept
            following = kept.followed_by(sequence, findings)
            connection.execute(update(tellings).where(here).values(_values(following)))
            return following

        return await self._database.write(begin)

    async def answer_telling(
        self, destination: str, study: StudyInstanceUID, sequence: int, acknowledgement: str, left: Sequence[bytes] = ()
    ) -> None:
        this = and_(
            tellings.c.destination == destination,
            tellings.c.study_instance_uid == study,
            tellings.c.sequence == sequence,
        )
        answered = {"answered": True, "acknowledgement": acknowledgement, "held": None, "unanswered": _listed(left)}
        await self._database.write(lambda connection: connection.execute(update(tellings).where(this).values(answered)))

    async def tell_earlier(self, destination: str, study: StudyInstanceUID, findings: bytes) -> Telling:
        here = and_(tellings.c.destination == destination, tellings.c.study_instance_uid == study)

        def tell(connection: Connection) -> Telling:
            kept = _telling(connection.execute(select(tellings).where(here).with_for_update()).one())
            if kept.answered:
                return kept
            following = kept.with_earlier(findings)
            connection.execute(update(tellings).where(here).values(_values(following)))
            return following

        return await self._database.write(tell)

    async def put_warned(self, receiver: str, discrepancy_id: UUID) -> None:
        insert = self._database.insert(warned_discrepancies).values(receiver=receiver, discrepancy_id=str(discrepancy_id))
        insert = insert.on_conflict_do_nothing(index_elements=["receiver", "discrepancy_id"])
        await self._database.write(lambda connection: connection.execute(insert))

    async def warned(self, receiver: str, discrepancy_id: UUID) -> bool:
        told = warned_discrepancies.c
        query = select(told.receiver).where(told.receiver == receiver, told.discrepancy_id == str(discrepancy_id))
        return await self._database.read(lambda connection: connection.scalar(query)) is not None

    async def put_latest_state(self, topic: str, study: StudyInstanceUID, service: ServiceName, sequence: int) -> None:
        insert = self._database.insert(latest_states)
        insert = insert.values(topic=topic, study_instance_uid=study, service=service, sequence=sequence)
        insert = insert.on_conflict_do_update(
            index_elements=["topic", "study_instance_uid", "service"],
            set_={"sequence": sequence},
            where=latest_states.c.sequence < insert.excluded.sequence,
        )
        await self._database.write(lambda connection: connection.execute(insert))

    async def latest_state(self, topic: str, study: StudyInstanceUID, service: ServiceName) -> int:
        here = and_(
            latest_states.c.topic == topic,
            latest_states.c.study_instance_uid == study,
            latest_states.c.service == service,
        )
        query = select(latest_states.c.sequence).where(here)
        return await self._database.read(lambda connection: connection.scalar(query)) or 0


def _values(telling: Telling) -> dict[str, Any]:
    return {
        "sequence": telling.sequence,
        "findings": telling.findings,
        "answered": telling.answered,
        "acknowledgement": telling.acknowledgement,
        "held": telling.held,
        "unanswered": _listed(telling.unanswered),
    }


def _telling(row: Row[Any]) -> Telling:
    return Telling(
        sequence=row.sequence,
        findings=bytes(row.findings),
        answered=row.answered,
        acknowledgement=row.acknowledgement,
        held=None if row.held is None else bytes(row.held),
        unanswered=tuple(text.encode("utf-8") for text in json.loads(row.unanswered)),
    )


def _listed(values: Sequence[bytes]) -> bytes:
    return json.dumps([value.decode("utf-8") for value in values]).encode("ascii")

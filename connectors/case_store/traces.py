"""Which records name a case, and which record each came from (port `Traces`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property

from sqlalchemy import BigInteger, Column, Connection, Executable, Integer, String, Table, case, select

from connectors.case_store.database import Database
from connectors.case_store.events import in_turns
from connectors.case_store.tables import COUNTER, metadata, moment, timeline
from schemas.case_store import Traced
from schemas.history import Span
from schemas.ports import Place

#: what each line of the timeline names: `project` alone writes here, and in the next two
line_names = Table(
    "line_names",
    metadata,
    Column("name", String, primary_key=True),
    Column("line", COUNTER, primary_key=True, autoincrement=False),
)

#: the record that a line's record came from, where its header says so
line_causes = Table(
    "line_causes",
    metadata,
    Column("line", COUNTER, primary_key=True, autoincrement=False),
    Column("topic", String, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
)

#: of which stretch of each partition this is kept: none of what was projected before these tables were made
lines_named = Table(
    "lines_named",
    metadata,
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("first", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
)


class SqlTraces:
    """See Traces."""

    _database: Database

    def _put_trace(self, connection: Connection, line: int, place: Place, names: Collection[str], cause: Place | None) -> None:
        """Beside the line, in the transaction that puts it."""
        if names:
            connection.execute(self._put_names, [{"name": name, "line": line} for name in sorted(names)])
        if cause is not None:
            at = {"topic": cause.topic, "partition": cause.partition, "offset": cause.offset}
            connection.execute(self._put_cause, {"line": line, **at})
        named = {"topic": place.topic, "partition": place.partition, "first": place.offset, "end": place.offset + 1}
        connection.execute(self._put_named, named)

    @cached_property
    def _put_names(self) -> Executable:
        return self._database.insert(line_names).on_conflict_do_nothing(index_elements=["name", "line"])

    @cached_property
    def _put_cause(self) -> Executable:
        return self._database.insert(line_causes).on_conflict_do_nothing(index_elements=["line"])

    @cached_property
    def _put_named(self) -> Executable:
        """One stretch of each partition."""
        insert = self._database.insert(lines_named)
        first, end = insert.excluded.first, insert.excluded.end
        anew = lines_named.c.first > first  # projected again from an earlier place: what lies between is not known yet
        longer = case((lines_named.c.end > end, lines_named.c.end), else_=end)
        update = {"first": case((anew, first), else_=lines_named.c.first), "end": case((anew, end), else_=longer)}
        return insert.on_conflict_do_update(index_elements=["topic", "partition"], set_=update)

    async def traced(self, names: Collection[str]) -> Sequence[Traced]:
        wanted = sorted(names)

        def read(connection: Connection) -> Sequence[Traced]:
            found: dict[Place, Traced] = {}
            for some in in_turns(wanted):
                lines = select(line_names.c.line).where(line_names.c.name.in_(some))
                query = (
                    select(timeline, line_causes, line_names.c.name)
                    .join(line_names, line_names.c.line == timeline.c.sequence)
                    .join(line_causes, line_causes.c.line == timeline.c.sequence, isouter=True)
                    .where(timeline.c.sequence.in_(lines))
                )
                for row in connection.execute(query).mappings():
                    place = Place(row[timeline.c.topic], row[timeline.c.partition], row[timeline.c.offset])
                    cause = row[line_causes.c.topic] and Place(
                        row[line_causes.c.topic], row[line_causes.c.partition], row[line_causes.c.offset]
                    )
                    known = found.get(place)
                    told = frozenset([row[line_names.c.name]]) | (known.names if known else frozenset())
                    found[place] = Traced(place, moment(row[timeline.c.at]), row[timeline.c.type], told, cause)
            return sorted(found.values(), key=lambda one: (one.at, str(one.place)))

        return await self._database.read(read)

    async def named_spans(self) -> Sequence[Span]:
        query = select(lines_named).order_by(lines_named.c.topic, lines_named.c.partition)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [Span(row.topic, row.partition, row.first, row.end) for row in rows]

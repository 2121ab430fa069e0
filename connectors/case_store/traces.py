"""Which records name a case, and which record each came from (port `Traces`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property

from sqlalchemy import BindParameter, Connection, Executable, bindparam, select, update

from connectors.case_store.database import Database
from connectors.case_store.events import in_turns
from connectors.case_store.tables import moment, timeline
from connectors.case_store.trace_tables import line_causes, line_names, named_stretches
from schemas.case_store import Traced
from schemas.history import Span
from schemas.ports import Place

_topic, _partition = named_stretches.c.topic, named_stretches.c.partition
_first, _end = named_stretches.c.first, named_stretches.c.end
_of_partition = (_topic == bindparam("of_topic"), _partition == bindparam("of_partition"))
_AT: BindParameter[int] = bindparam("at")

#: by the record behind its last; whatever lies between two stretches is not known
_LONGER = update(named_stretches).where(*_of_partition, _end == _AT).values({_end: _AT + 1})
_KNOWN = select(_first).where(*_of_partition, _first <= _AT, _end > _AT).limit(1)


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
        self._put_named(connection, place)

    def _put_named(self, connection: Connection, place: Place) -> None:
        at = {"of_topic": place.topic, "of_partition": place.partition, "at": place.offset}
        if not connection.execute(_LONGER, at).rowcount and connection.scalar(_KNOWN, at) is None:
            first = {"topic": place.topic, "partition": place.partition, "first": place.offset, "end": place.offset + 1}
            connection.execute(self._put_stretch, first)

    @cached_property
    def _put_names(self) -> Executable:
        return self._database.insert(line_names).on_conflict_do_nothing(index_elements=["name", "line"])

    @cached_property
    def _put_cause(self) -> Executable:
        return self._database.insert(line_causes).on_conflict_do_nothing(index_elements=["line"])

    @cached_property
    def _put_stretch(self) -> Executable:
        return self._database.insert(named_stretches).on_conflict_do_nothing(index_elements=["topic", "partition", "first"])

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
        query = select(named_stretches).order_by(_topic, _partition, _first)
        spans: list[Span] = []
        for row in await self._database.read(lambda connection: connection.execute(query).all()):
            last = spans[-1] if spans else None
            if last is not None and (last.topic, last.partition) == (row.topic, row.partition) and row.first <= last.end:
                spans[-1] = Span(last.topic, last.partition, last.first, max(last.end, row.end))
            else:
                spans.append(Span(row.topic, row.partition, row.first, row.end))
        return spans

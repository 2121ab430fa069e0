"""The tables of what records name: `project` alone writes here."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, String, Table, inspect, text

from connectors.case_store.tables import COUNTER, metadata

#: what each line of the timeline names: found by name, and all that a line names by the line
line_names = Table(
    "line_names",
    metadata,
    Column("name", String, primary_key=True),
    Column("line", COUNTER, primary_key=True, autoincrement=False),
)
_by_line = Index("ix_line_names_line", line_names.c.line)

#: the record that a line's record came from, where its header says so
line_causes = Table(
    "line_causes",
    metadata,
    Column("line", COUNTER, primary_key=True, autoincrement=False),
    Column("topic", String, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
)

#: of which stretches of each partition this is kept, without a hole: not of what another version projected, which did not keep it
named_stretches = Table(
    "named_stretches",
    metadata,
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("end", BigInteger, nullable=False),
)


def index_lines(connection: Connection) -> None:
    """Of a database whose names were kept before they were found by line. All at once, however long it takes."""
    if _by_line.name not in {index["name"] for index in inspect(connection).get_indexes(line_names.name)}:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        _by_line.create(connection)

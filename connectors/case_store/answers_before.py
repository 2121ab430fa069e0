"""A database made before answers were heard: a recall must find what models said then, too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, inspect, select

from connectors.case_store.hearing_tables import heard
from connectors.case_store.tables import analyses, microseconds
from schemas.findings import Findings
from schemas.hearings import BEFORE_HEARING

#: before any report: what was told before anybody asked whether a radiologist had verified stays as it was told
_LONG_AGO = microseconds(BEFORE_HEARING)
_AT_A_TIME = 500


def tables_older_than_hearing(connection: Connection) -> bool:
    """To be asked before the tables are made."""
    names = inspect(connection).get_table_names()
    return analyses.name in names and heard.name not in names


def hear_what_was_said_before(connection: Connection) -> None:
    """Fill `heard` of such a database from what its analyses said. Those that no longer can be read are passed over."""
    query = select(analyses.c.value).execution_options(yield_per=_AT_A_TIME)  # never all of them in memory
    for some in connection.scalars(query).partitions():
        if rows := list(_rows(some)):
            connection.execute(heard.insert(), rows)


def _rows(values: Any) -> Iterator[dict[str, Any]]:
    for value in values:
        try:
            findings = Findings.model_validate_json(value)
        except ValidationError:
            continue
        of, model = findings.subject, findings.model
        yield {
            "study_instance_uid": of.study_instance_uid,
            "service": findings.service,
            "sequence": of.sequence,
            "analysis_id": str(findings.analysis_id),
            "value": value,
            "came_at": _LONG_AGO,
            "model_name": None if model is None else model.name,
            "model_version": None if model is None else model.version,
        }

"""A `Due` as a row and back: a parked record keeps place, key, value, headers and timestamp exactly."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID

from sqlalchemy import Delete, Insert, Row, delete

from connectors.case_store.database import Database
from connectors.case_store.tables import due, microseconds, moment
from schemas.case_store import Due
from schemas.ports import Headers, Place, Record


def put(database: Database, item: Due) -> Insert:
    """Insert or replace by id."""
    record: dict[str, Any] = dict.fromkeys(("topic", "partition", "offset", "key", "value", "headers", "timestamp"))
    if item.record is not None:
        record = {
            "topic": item.record.place.topic,
            "partition": item.record.place.partition,
            "offset": item.record.place.offset,
            "key": item.record.key,
            "value": item.record.value,
            "headers": _to_bytes(item.record.headers),
            "timestamp": microseconds(item.record.timestamp),
        }
    values = record | {
        "reason": item.reason,
        "case": item.case,
        "not_before": microseconds(item.not_before),
        "attempts": item.attempts,
        "step": item.step,
    }
    insert = database.insert(due).values(id=str(item.id), **values)
    return insert.on_conflict_do_update(index_elements=["id"], set_=values)


def remove(due_id: UUID) -> Delete:
    return delete(due).where(due.c.id == str(due_id))


def from_row(row: Row[Any]) -> Due:
    record = None
    if row.topic is not None:
        place = Place(row.topic, row.partition, row.offset)
        record = Record(place, row.key, row.value, _from_bytes(row.headers), moment(row.timestamp))
    return Due(UUID(row.id), row.reason, row.case, moment(row.not_before), row.attempts, row.step, record)


def _to_bytes(headers: Headers) -> bytes:
    return json.dumps([[name, base64.b64encode(value).decode("ascii")] for name, value in headers]).encode("ascii")


def _from_bytes(value: bytes) -> Headers:
    return tuple((name, base64.b64decode(header)) for name, header in json.loads(value))

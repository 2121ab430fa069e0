"""The chain of a partition: one hash that holds every byte of every record so far, and where each stood."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from struct import pack

from schemas.moments import milliseconds
from schemas.ports import Record

#: before the first record
BEGINNING = bytes(32)


def linked(before: bytes, record: Record) -> bytes:
    """SHA-256 over `before`, then offset, timestamp (milliseconds, as Kafka keeps it), key, value, number of headers, and name and
    value of each. Every part has its length before it (8 bytes; -1: there is no key), so that no two records give the same bytes.
    A value that is null and one that is empty are the same: `Record` does not tell them apart; and so are all timestamps before the
    year 2, and all behind 9998 (`schemas.moments.moment_of`)."""
    parts: list[bytes | None] = [
        pack(">q", record.place.offset),
        pack(">q", milliseconds(record.timestamp)),
        record.key,
        record.value,
        pack(">q", len(record.headers)),
    ]
    for name, value in record.headers:
        parts += name.encode("utf-8"), value
    hashed = sha256(before)
    for part in parts:
        hashed.update(pack(">q", -1 if part is None else len(part)))
        hashed.update(part or b"")
    return hashed.digest()


@dataclass(frozen=True, slots=True)
class Chain:
    """Of one partition: it began at offset `first` and holds `records` of them, all before `end`; `head` is the last hash."""

    first: int
    end: int
    records: int = 0
    head: bytes = BEGINNING

"""A record as bytes, one after the other in the frames of a segment. All integers are little-endian.

u32 bytes that follow; i64 offset; i64 timestamp (ms since 1970, UTC); i32 length of the key (-1: none), key;
u32 length of the value, value; u32 number of headers; of each u32 length, name (UTF-8), u32 length, value"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache

from schemas.moments import milliseconds, moment_of
from schemas.ports import Place, Record

_HEAD = struct.Struct("<Iqqi")
_NUMBER = struct.Struct("<I")


def written(record: Record) -> bytes:
    """Topic and partition are those of the segment."""
    key, value = record.key, record.value
    parts = [b"" if key is None else key, _NUMBER.pack(len(value)), value, _NUMBER.pack(len(record.headers))]
    for name, said in record.headers:
        name_bytes = name.encode("utf-8")
        parts += (_NUMBER.pack(len(name_bytes)), name_bytes, _NUMBER.pack(len(said)), said)
    rest = b"".join(parts)
    length = len(rest) + _HEAD.size - _NUMBER.size
    return _HEAD.pack(length, record.place.offset, milliseconds(record.timestamp), -1 if key is None else len(key)) + rest


def read(data: bytes, topic: str, partition: int) -> Iterator[Record]:
    """Raises ValueError, struct.error for bytes that are no records."""
    at = 0
    while at < len(data):
        length, offset, timestamp, key_length = _HEAD.unpack_from(data, at)
        end = at + _NUMBER.size + length
        at += _HEAD.size
        key: bytes | None = None
        if key_length >= 0:
            key, at = data[at : at + key_length], at + key_length
        elif key_length != -1:
            raise ValueError("the length of a key is negative")
        value, at = _sized(data, at)
        (number,) = _NUMBER.unpack_from(data, at)
        at += _NUMBER.size
        headers = []
        for _ in range(number):
            name, at = _sized(data, at)
            said, at = _sized(data, at)
            headers.append((_text(name), said))
        if at != end or end > len(data):
            raise ValueError("the length of a record is not that of its parts")
        yield Record(Place(topic, partition, offset), key, value, tuple(headers), moment_of(timestamp))


def _sized(data: bytes, at: int) -> tuple[bytes, int]:
    (length,) = _NUMBER.unpack_from(data, at)
    at += _NUMBER.size
    return data[at : at + length], at + length


@lru_cache(maxsize=256)
def _text(name: bytes) -> str:
    """All records of a topic have the same few."""
    return name.decode("utf-8")

"""One hash holds every byte of every record, and where it stood."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ports import Place, Record
from streams.audit.chain import BEGINNING, linked

AT = datetime(2026, 11, 30, 8, 0, 0, 123000, tzinfo=UTC)
RECORD = Record(Place("hl7.v2.raw", 0, 7), b"RIS|A", b"MSH|", (("peer", b"1"), ("peer", b"")), AT)


def test_it_is_what_the_documentation_says() -> None:
    def part(value: bytes) -> bytes:
        return len(value).to_bytes(8, "big") + value

    milliseconds = 1796025600123
    assert AT.timestamp() * 1000 == milliseconds
    head = part((7).to_bytes(8, "big")) + part(milliseconds.to_bytes(8, "big")) + part(b"RIS|A") + part(b"MSH|")
    headers = part((2).to_bytes(8, "big")) + part(b"peer") + part(b"1") + part(b"peer") + part(b"")
    assert linked(BEGINNING, RECORD) == hashlib.sha256(bytes(32) + head + headers).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"place": Place("hl7.v2.raw", 0, 8)},
        {"timestamp": AT + timedelta(milliseconds=1)},
        {"timestamp": AT - timedelta(milliseconds=1)},
        {"key": None},
        {"key": b""},
        {"key": b"RIS|B"},
        {"value": b"MSH"},
        {"headers": (("peer", b""), ("peer", b"1"))},
        {"headers": (("peer", b"1"),)},
        {"headers": (("peer1", b""), ("peer", b""))},
        {"headers": ()},
    ],
)
def test_whatever_is_changed_is_another_hash(change: dict[str, Any]) -> None:
    assert linked(BEGINNING, replace(RECORD, **change)) != linked(BEGINNING, RECORD)


def test_no_key_is_another_than_an_empty_one() -> None:
    assert linked(BEGINNING, replace(RECORD, key=None)) != linked(BEGINNING, replace(RECORD, key=b""))


def test_it_holds_what_stood_before() -> None:
    assert linked(bytes(31) + b"1", RECORD) != linked(BEGINNING, RECORD)


RECORDS = st.builds(
    Record,
    place=st.builds(Place, topic=st.just("t"), partition=st.just(0), offset=st.integers(0, 3)),
    key=st.none() | st.binary(max_size=3),
    value=st.binary(max_size=4),
    headers=st.lists(st.tuples(st.text(max_size=2), st.binary(max_size=2)), max_size=2).map(tuple),
    timestamp=st.integers(0, 3).map(lambda later: AT + timedelta(milliseconds=later)),
)


@given(RECORDS, RECORDS)
def test_the_same_hash_is_the_same_record(one: Record, other: Record) -> None:
    assert (linked(BEGINNING, one) == linked(BEGINNING, other)) == (one == other)

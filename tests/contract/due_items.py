"""What every case store keeps of timers and of parked records."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid5

import pytest

from schemas.case_store import CaseStore, Due
from schemas.identifiers import NAMESPACE
from schemas.ports import Place, Record

#: to the microsecond
NOON = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)


def a_timer(name: str, not_before: datetime = NOON) -> Due:
    return Due(id=uuid5(NAMESPACE, name), reason="order-awaited", case="1.2.3", not_before=not_before)


class DueContract:
    """For a class that gives `store` (tests/contract/case_store.py)."""

    async def test_due_comes_when_its_time_has_come_the_longest_due_first(self, store: CaseStore) -> None:
        late, early = a_timer("late", NOON), a_timer("early", NOON - timedelta(microseconds=1))
        future = a_timer("future", NOON + timedelta(microseconds=1))
        for item in (late, future, early):
            await store.put_due(item)
        assert await store.due_before(NOON) == [early, late]
        assert await store.due_before(NOON, limit=1) == [early]
        await store.remove_due(early.id)
        await store.remove_due(early.id)
        assert await store.due_before(NOON) == [late]

    async def test_due_of_one_id_is_replaced(self, store: CaseStore) -> None:
        parked = replace(a_timer("one"), record=Record(Place("t", 0, 1), b"k", b"v", (), NOON), step="analyse", attempts=3)
        await store.put_due(parked)
        assert await store.due_before(NOON) == [parked]
        await store.put_due(a_timer("one"))
        assert await store.due_before(NOON) == [a_timer("one")]

    @pytest.mark.parametrize("key", [None, b"", b"\x00\xffkey"])
    async def test_a_parked_record_comes_back_exactly(self, store: CaseStore, key: bytes | None) -> None:
        headers = (("a", b"\x00\xfe"), ("a", b""), ("ü", "ß".encode()))
        stamp = datetime(2026, 11, 24, 14, 0, 0, 7, tzinfo=timezone(timedelta(hours=2)))
        record = Record(Place("hl7.v2.raw", 3, 2**40), key, bytes(range(256)), headers, stamp)
        item = Due(uuid5(NAMESPACE, "p"), "StudyIncomplete", "ü", NOON, 2, "analyse", record)
        await store.put_due(item)
        assert await store.due_before(NOON) == [item]

    async def test_a_moment_without_time_zone_is_refused(self, store: CaseStore) -> None:
        with pytest.raises(TypeError):
            await store.put_due(a_timer("naive", NOON.replace(tzinfo=None)))

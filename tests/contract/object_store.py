"""What every ObjectStore keeps. A subclass gives the fixture `objects`, which may hold what other tests put there."""

from __future__ import annotations

import asyncio
import os
from uuid import uuid4

import pytest

from schemas.ports import ObjectStore


class ObjectStoreContract:
    @pytest.fixture
    def name(self) -> str:
        return f"images/{uuid4().hex}.png"

    async def test_what_is_put_is_held(self, objects: ObjectStore, name: str) -> None:
        assert not await objects.holds(name)
        assert await objects.get(name) is None
        await objects.put(name, b"\x89PNG\r\n\x1a\n\x00")
        assert await objects.holds(name)
        assert await objects.get(name) == b"\x89PNG\r\n\x1a\n\x00"

    async def test_putting_again_changes_nothing(self, objects: ObjectStore, name: str) -> None:
        for _ in range(2):
            await objects.put(name, b"the same")
            assert await objects.get(name) == b"the same"

    async def test_as_large_as_pictures_are(self, objects: ObjectStore, name: str) -> None:
        value = os.urandom(12 * 1024 * 1024)
        await objects.put(name, value)
        assert await objects.get(name) == value

    async def test_two_names_are_two_objects(self, objects: ObjectStore, name: str) -> None:
        await objects.put(name, b"one")
        assert not await objects.holds(name + ".png")
        assert not await objects.holds(name.rpartition("/")[0])

    async def test_many_at_once_none_half_seen(self, objects: ObjectStore, name: str) -> None:
        """Writers of one name, and readers beside them."""
        values = [bytes([n]) * 2_000_000 for n in range(4)]
        seen: list[bytes | None] = []

        async def watch() -> None:
            for _ in range(20):
                seen.append(await objects.get(name))

        await asyncio.gather(watch(), watch(), *(objects.put(name, value) for value in values))
        assert {value for value in seen if value is not None} <= set(values)
        assert await objects.get(name) in values

    async def test_names_are_those_in_a_folder_at_any_depth(self, objects: ObjectStore) -> None:
        folder = uuid4().hex
        assert await objects.names(folder) == []
        names = [f"{folder}/a/1/card.toml", f"{folder}/a/1/weights.bin", f"{folder}/b/card.toml"]
        for name in (*reversed(names), f"{folder}-beside/card.toml"):
            await objects.put(name, b"x")
        assert await objects.names(folder) == names
        assert await objects.names(f"{folder}/a") == names[:2]
        assert set(names) <= set(await objects.names())

    async def test_there_may_be_many_names(self, objects: ObjectStore) -> None:
        """More than one page of S3 (1000)."""
        folder = uuid4().hex
        names = [f"{folder}/{number:04}" for number in range(1100)]
        for begin in range(0, len(names), 50):
            await asyncio.gather(*(objects.put(name, b"") for name in names[begin : begin + 50]))
        assert await objects.names(folder) == names

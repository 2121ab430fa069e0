"""A list of names that comes in pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from connectors import objects
from connectors.objects import Objects
from schemas.errors import ObjectStoreUnavailable

PAGES = [[{"path": f"{page:03}/{one}"} for one in range(2)] for page in range(60)]


class Listed:
    """obstore, of a server that answers a request in `wait_s`."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s

    async def list(self, _store: object, _prefix: str | None) -> AsyncIterator[list[dict[str, str]]]:
        for page in PAGES:
            await asyncio.sleep(self._wait_s)
            yield page


async def names(monkeypatch: pytest.MonkeyPatch, wait_s: float, timeout_s: float) -> list[str]:
    monkeypatch.setattr(objects, "obstore", Listed(wait_s))
    return list(await Objects(None, timeout_s).names("segments/topic"))  # type: ignore[arg-type]


async def test_a_long_list_may_take_longer_than_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await names(monkeypatch, 0.06, 3.0) == [one["path"] for page in PAGES for one in page]


async def test_a_page_that_never_comes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ObjectStoreUnavailable, match="no answer within 0.01 s"):
        await names(monkeypatch, 60, 0.01)

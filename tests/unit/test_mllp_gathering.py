"""One writer for all connections: what one of them brings must not hurt the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from connectors.mllp.dialogue import Received
from connectors.mllp.gathering import Gathering, Store
from schemas.errors import BrokerUnavailable, Rejected

AT = datetime(2026, 1, 2, tzinfo=UTC)


class Peer:
    """A connection whose messages are there from the beginning; `broken`: it cannot take its answer."""

    def __init__(self, name: str, *contents: bytes, broken: bool = False) -> None:
        self.peer = name
        self.oldest = asyncio.get_running_loop().time()
        self.waiting = [Received(content, name, AT, None) for content in contents]
        self.broken = broken
        self.told: list[tuple[int, bool]] = []
        self.aborted = False
        self.done = asyncio.Event()

    def lot(self, messages: int, size: int) -> tuple[Sequence[Received], int]:
        return self.waiting, sum(len(one.content) for one in self.waiting)

    def settled(self, stored: bool) -> None:
        if self.broken:
            raise ValueError("a bug")
        self.told.append((len(self.waiting), stored))
        self.done.set()

    def go_on(self) -> None:
        raise AssertionError("nobody stopped it")

    def abort(self) -> None:
        self.aborted = True
        self.done.set()


async def settle(store: Store, *peers: Peer) -> None:
    gathering = Gathering(store, storing_s=5)
    for peer in peers:
        gathering.announce(peer)
    async with asyncio.timeout(5):
        for peer in peers:
            await peer.done.wait()


async def test_what_waits_on_all_connections_is_stored_in_one_go() -> None:
    goes: list[list[bytes]] = []

    async def store(batch: Sequence[Received]) -> None:
        goes.append([one.content for one in batch])

    peers = [Peer("a", b"1", b"2"), Peer("b", b"3")]
    await settle(store, *peers)
    assert goes == [[b"1", b"2", b"3"]]
    assert [peer.told for peer in peers] == [[(2, True)], [(1, True)]]


async def test_one_that_can_never_be_stored_does_not_fail_the_others() -> None:
    async def store(batch: Sequence[Received]) -> None:
        if any(one.content == b"bad" for one in batch):
            raise Rejected("append", "topic", "too large")

    good, bad, other = Peer("a", b"1"), Peer("b", b"bad"), Peer("c", b"3")
    await settle(store, good, bad, other)
    assert (good.told, bad.told, other.told) == ([(1, True)], [(1, False)], [(1, True)])


async def test_a_broker_that_is_away_is_asked_once_for_all() -> None:
    asked = 0

    async def store(batch: Sequence[Received]) -> None:
        nonlocal asked
        asked += 1
        raise BrokerUnavailable("append", "topic", "away")

    peers = [Peer("a", b"1"), Peer("b", b"2")]
    await settle(store, *peers)
    assert asked == 1
    assert [peer.told for peer in peers] == [[(1, False)], [(1, False)]]


@pytest.mark.parametrize("first", [True, False])
async def test_a_bug_in_one_answer_does_not_keep_the_others_from_theirs(first: bool) -> None:
    async def store(batch: Sequence[Received]) -> None:
        return None

    broken, well = Peer("a", b"1", broken=True), Peer("b", b"2")
    await settle(store, *([broken, well] if first else [well, broken]))
    assert broken.aborted
    assert well.told == [(1, True)]

"""Whose turn it is."""

from __future__ import annotations

import asyncio

import pytest

from streams.turns import Turns


class Queue:
    """What enters when the one before it leaves."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.served: list[str] = []

    async def serve(self, name: str, rank: int, until: asyncio.Event) -> None:
        async with self.turns.turn(rank):
            self.served.append(name)
            await until.wait()

    async def enter(self, name: str, rank: int, until: asyncio.Event) -> asyncio.Task[None]:
        task = asyncio.create_task(self.serve(name, rank, until))
        await asyncio.sleep(0)
        return task


@pytest.fixture
def queue() -> Queue:
    return Queue()


async def test_the_most_urgent_and_among_equals_the_first(queue: Queue) -> None:
    first, rest = asyncio.Event(), asyncio.Event()
    rest.set()
    tasks = [await queue.enter("running", 1, first)]
    for name, rank in (("bulk", 2), ("routine 1", 1), ("routine 2", 1), ("STAT", 0)):
        tasks.append(await queue.enter(name, rank, rest))
    assert queue.served == ["running"]
    first.set()
    await asyncio.gather(*tasks)
    assert queue.served == ["running", "STAT", "routine 1", "routine 2", "bulk"]


async def test_nobody_enters_between_the_call_and_the_one_who_is_called(queue: Queue) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    tasks = [await queue.enter("first", 1, first), await queue.enter("second", 1, second)]
    first.set()
    await tasks[0]
    tasks.append(await queue.enter("third", 0, second))
    assert queue.served == ["first", "second"]
    second.set()
    await asyncio.gather(*tasks)


async def test_who_goes_away_keeps_nobody_waiting(queue: Queue) -> None:
    rest = asyncio.Event()
    rest.set()
    async with queue.turns.turn(1):
        impatient, called, patient = [await queue.enter(name, 1, rest) for name in ("impatient", "called", "patient")]
        impatient.cancel()
        await asyncio.wait([impatient])
    called.cancel()  # its turn has come, and it has not run yet
    await asyncio.wait_for(patient, 5)
    assert queue.served == ["patient"]
    async with asyncio.timeout(5):
        await queue.serve("later", 1, rest)


async def test_a_turn_that_fails_ends(queue: Queue) -> None:
    with pytest.raises(ValueError):
        async with queue.turns.turn(1):
            raise ValueError
    async with asyncio.timeout(5), queue.turns.turn(1):
        pass


async def test_several_places_are_taken_by_as_many() -> None:
    turns, inside, most = Turns(2), 0, 0

    async def one() -> None:
        nonlocal inside, most
        async with turns.turn(1):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(one() for _ in range(9)))
    assert (most, inside) == (2, 0)

"""What takes long must not keep a role from ending."""

from __future__ import annotations

import asyncio

import pytest

from streams.wiring.running import unless


async def test_what_is_done_in_time_is_given() -> None:
    async def work() -> str:
        return "loaded"

    assert await unless(asyncio.Event(), work()) == "loaded"


async def test_a_stop_is_heard_meanwhile_and_the_work_has_ended_when_it_is_told() -> None:
    stop, begun, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "never"

    asked = asyncio.create_task(unless(stop, work()))
    await begun.wait()
    stop.set()
    assert await asked is None
    assert ended.is_set()


async def test_what_is_wrong_is_raised() -> None:
    async def work() -> str:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await unless(asyncio.Event(), work())

"""A service that others use too is away for the length of a block, and back after it, whatever happens in it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from streams.services import LocalServices, process


@asynccontextmanager
async def away(services: LocalServices, name: str, *, kill: bool = True) -> AsyncIterator[None]:
    """It was killed with -9, or stopped. After the block it does its work again."""
    try:
        await asyncio.to_thread(services.down, name, kill=kill)
        yield
    finally:
        await asyncio.to_thread(services.up, name)


@contextmanager
def paused(services: LocalServices, name: str) -> Iterator[None]:
    """It is there and does nothing: its connections stay open, nothing is answered."""
    remembered = process.recall(services.root / name / "process.json")
    assert remembered is not None
    [child] = Path(f"/proc/{remembered.pid}/task/{remembered.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(int(child), signal.SIGCONT)

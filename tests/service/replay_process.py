"""`radstream replay` as a process of its own, which can be killed at any line that it says; and what is in a sandbox then."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping

from schemas.ports import Headers
from streams.replay.outbox import sandbox_of
from streams.settings import Settings, as_environment
from streams.wiring.clients import history_for

#: of a busy machine, until the process has loaded what it needs and done its work
_LIMIT_S = 240


async def replay(settings: Settings, *arguments: str, kill_after: int | None = None) -> tuple[int, str]:
    """`radstream replay ARGUMENTS`: its exit code, negative when it was killed, and what it said on both streams. `kill_after`:
    with SIGKILL, after so many lines about its progress; it may have come to its end before."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streams", "replay", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **as_environment(settings), "COLUMNS": "300"},
    )  # fmt: skip
    assert process.stdout is not None
    said, lines = [], 0
    async with asyncio.timeout(_LIMIT_S):
        async for line in process.stdout:
            said.append(line.decode())
            lines += said[-1].startswith("replay ")
            if lines == kill_after and process.returncode is None:
                process.send_signal(signal.SIGKILL)
        return await process.wait(), "".join(said)


Said = Mapping[str, list[tuple[bytes | None, bytes, Headers]]]


async def said_in(settings: Settings, name: str) -> Said:
    """Everything in the sandbox of a replay, in order, as if its name were NAME: two replays that are one must differ in nothing
    else."""
    history, found = history_for(settings), {}
    own, any_name = f"sandbox.{name}.".encode(), b"sandbox.NAME."
    for topic in sandbox_of(name).topics:
        (span,) = await history.spans(topic.name)
        found[topic.name.replace(own.decode(), any_name.decode())] = [
            (
                record.key,
                record.value.replace(own, any_name),
                tuple((header, value.replace(own, any_name)) for header, value in record.headers),
            )
            async for record in history.records(span)
        ]
    return found

"""A worker process for test_loss.py: copies one topic to another under the guard and one of the two runners.

The records themselves say what shall happen to them; while the file `down` exists, a dependency is unavailable.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from connectors.case_store import SqlCaseStore
from connectors.kafka import KafkaLog
from schemas.errors import ArchiveUnavailable, MalformedMessage, RadstreamError, StudyIncomplete
from schemas.ports import Outgoing, Record, Step
from streams.clock import SystemClock
from streams.guard import Guard
from streams.runner import Runner
from streams.runner_faust import FaustRunner
from streams.runner_window import WindowRunner


def copy_to(topic: str, down: Path, work_s: float, broken: bool) -> Step:
    async def copy(record: Record) -> Sequence[Outgoing]:
        if down.exists():
            raise ArchiveUnavailable("copy", str(record.place), "it is down")
        if record.value.startswith(b"reject"):
            raise MalformedMessage("copy", str(record.place), "as it says")
        if record.value.startswith(b"later"):
            raise StudyIncomplete("copy", str(record.place), "as it says")
        if record.value.startswith(b"poison") and broken:
            raise ValueError("as it says")
        await asyncio.sleep(1.0 if record.value.startswith(b"slow") else work_s)
        return [Outgoing(topic, record.key, record.value, record.headers)]

    return copy


async def work(arguments: argparse.Namespace) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    name, bootstrap = arguments.step, arguments.bootstrap
    runner: Runner
    if arguments.runner == "faust":
        runner = FaustRunner(bootstrap, name, instance=arguments.instance, compacted=arguments.compacted)
    else:
        runner = WindowRunner(bootstrap, name, size=8, instance=arguments.instance)
    cases = SqlCaseStore(arguments.database)
    try:
        async with KafkaLog(bootstrap) as log:
            step = copy_to(arguments.output, arguments.down, arguments.work_s, arguments.broken)
            guard = Guard(name, step, log, cases, SystemClock(), stop)
            await runner.run(arguments.input, guard, stop)
    except RadstreamError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        await cases.close()
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runner", choices=["faust", "window"], required=True)
    for name in ("bootstrap", "step", "instance", "output", "database"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--input", nargs="+", required=True)
    parser.add_argument("--compacted", nargs="*", default=())
    parser.add_argument("--down", type=Path, required=True)
    parser.add_argument("--work-s", type=float, default=0.0)
    parser.add_argument("--broken", action="store_true")
    sys.exit(asyncio.run(work(parser.parse_args())))

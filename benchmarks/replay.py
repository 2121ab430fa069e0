"""A replay beside a bare consumer, and what live messages notice of one.

    .venv/bin/python benchmarks/replay.py              # about 6 minutes
    .venv/bin/python benchmarks/replay.py --quick      # shows that it runs, its figures mean nothing

*Raw to normalised*: the same stored messages (a 1 KB ORM^O01 and a 4 KB ORU^R01 in turns, of four senders) by a replay through
`normalise`, as fast as it can, with its plan, snapshots, audit and sandbox; by a bare aiokafka consumer that calls the same
`normalise` and writes nothing (the floor); and by one that also appends what comes out, acks=all. In turns, in one process; of each
the same number of records must have come out.

*Live*: acknowledgement over MLLP by the real listener, 300 messages/s on 8 connections in an open loop, without and during a replay
of all steps at the default rate in a process of its own; in turns. Every answer must be AA and every message on the topic.

Needs Go for the load tool, as benchmarks/mllp.py does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import replay_figures as figures
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from hl7 import ORM, ORU
from mllp import RATE as LIVE_RATE
from mllp import Bench, build_load_tool
from mllp import NotProven as NotAcknowledged
from peers.contenders import Contender, machine, running
from replay_figures import APPENDING, BARE, OF_THE_RATE, OURS, NotProven
from rich.console import Console

from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, ensure_topics
from connectors.kafka_records import record_of
from schemas.errors import RadstreamError
from schemas.ports import Outgoing
from streams import topics
from streams.demo.orders import order_for
from streams.local_engine import settings_for
from streams.replay.manifest import Manifest, ReplayFolder
from streams.replay.plan import Plan
from streams.replay.planning import planned
from streams.replay.replaying import RATE, Who, create, run
from streams.replay.selection import Selection
from streams.services import LocalServices, ServiceError, ServicePorts, running_services
from streams.settings import Settings, as_environment
from streams.steps.normalise import normalise
from streams.wiring.clients import ensure_all_topics, history_for

CONNECTIONS, SENDERS = 8, 4
#: of order, study and patient in the messages of benchmarks/hl7.py
IDENTIFIERS = (b"PL-0001", b"FI-0001", b"RP-0001", b"SPS-0001", b"ACC-0001", b"4711-0815", b"93 2041", b"688119.969.1")
QUICK = {"messages": 1_000, "rounds": 1, "turns": 1, "seconds": 2.0, "least_rate": 0.0}
WHOLE = {"messages": 20_000, "rounds": 5, "turns": 7, "seconds": 8.0, "least_rate": OF_THE_RATE * RATE}
WHO = Who("benchmark", "measured")
console = Console(stderr=True, highlight=False, soft_wrap=True)

Turn = dict[str, float]


async def store(settings: Settings, count: int) -> None:
    """As a listener would have: the key is the sender. Each is of an order, a study and a patient of its own: ten thousand messages
    about one patient are no hospital."""
    async with KafkaLog(settings.kafka.bootstrap) as log:
        for begin in range(0, count, 500):
            records = []
            for number in range(begin, min(begin + 500, count)):
                sender = f"HIS{number % SENDERS}"
                message = (ORM, ORU)[number // SENDERS % 2].replace(b"|HIS|", b"|%b|" % sender.encode(), 1)
                for word in IDENTIFIERS:
                    message = message.replace(word, b"%b%d" % (word, number))
                message = message.replace(b"BENCH-0000001", b"BENCH-%07d" % number, 1)
                records.append(Outgoing(topics.HL7_RAW.name, f"{sender}|HOSPITAL".encode(), message))
            await log.append(records)


async def plan_of(settings: Settings) -> Plan:
    history = history_for(settings)
    spans = [span for span in await history.spans(topics.HL7_RAW.name) if len(span)]
    return await planned(Selection(places=tuple(spans)), history, default_charset=settings.site.default_charset)


# ----------------------------------------------------------------------------------------------------------- replayed


async def replayed(settings: Settings, plan: Plan, name: str) -> Manifest:
    folder = create(settings, name, plan, WHO, through="normalise")
    return await run(settings, folder, rate=None, stop=asyncio.Event(), tell=lambda _: None)


async def consumed(settings: Settings, count: int, topic: str | None) -> int:
    """How many records came out; `topic`: where they are appended."""
    bootstrap, came, wrote = settings.kafka.bootstrap, 0, 0
    consumer = AIOKafkaConsumer(
        topics.HL7_RAW.name, bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    async with AsyncExitStack() as stack:
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        producer = None
        if topic is not None:
            producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, max_batch_size=256 * 1024)
            await producer.start()
            stack.push_async_callback(producer.stop)
        while came < count:
            sent = []
            for messages in (await consumer.getmany(timeout_ms=1_000)).values():
                for message in messages:
                    came += 1
                    for out in await normalise(record_of(message), site=settings.site):
                        wrote += 1
                        if producer is not None:
                            sent.append(await producer.send(topic, out.value, out.key, headers=list(out.headers)))
            for written in sent:
                await written
    return wrote


def rounds_of(settings: Settings, plan: Plan, rounds: int) -> list[dict[str, Turn]]:
    """The first round, which warms up, is not among them. Raises NotProven."""
    count = plan.records
    ensure_topics(settings.kafka.bootstrap, [TopicSpec("bench.appended", 1, topics.ORDERS.config)])
    found = []
    for number in range(rounds + 1):
        contenders: dict[str, Callable[[], Awaitable[Any]]] = {
            OURS: partial(replayed, settings, plan, f"round-{number}"),
            BARE: partial(consumed, settings, count, None),
            APPENDING: partial(consumed, settings, count, "bench.appended"),
        }
        turns: dict[str, Turn] = {}
        wrote: dict[str, int] = {}
        for name in sorted(contenders, key=lambda name: (list(contenders).index(name) + number) % len(contenders)):
            begun, processor = time.perf_counter(), time.process_time()
            came_out = asyncio.run(_awaited(contenders[name]))
            seconds, cpu = time.perf_counter() - begun, time.process_time() - processor
            wrote[name] = sum(came_out.written.values()) if isinstance(came_out, Manifest) else came_out
            turns[name] = {"records": count, "seconds": seconds, "cpu_seconds": cpu}
            console.print(f"round {number} of {rounds}, {name}: {count / seconds:,.0f}/s, {count / cpu:,.0f}/s of processor time")
        if len(set(wrote.values())) != 1:
            raise NotProven(f"not the same came out: {wrote}")
        if number:
            found.append(turns)
    return found


async def _awaited(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()


# --------------------------------------------------------------------------------------------------------------- live


async def _process(settings: Settings, folder: ReplayFolder, log: Path) -> tuple[asyncio.subprocess.Process, datetime]:
    """A replay at the default rate, and since when it is running."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "streams", "replay", "resume", folder.name,
            env={**os.environ, **as_environment(settings)}, stdout=output, stderr=output,
        )  # fmt: skip
    async with asyncio.timeout(60):
        while folder.read().state != "running":
            if process.returncode is not None:
                raise NotProven(f"the replay ended:\n{log.read_text()[-2000:]}")
            await asyncio.sleep(0.1)  # another process's file gives no event
    return process, datetime.fromtimestamp((folder.path / "manifest.json").stat().st_mtime, UTC)


async def _paused(process: asyncio.subprocess.Process, folder: ReplayFolder, log: Path) -> Manifest:
    """How many records are done, and when it ended."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        await process.wait()
    manifest = folder.read()
    if manifest.state != "paused":
        raise NotProven(f"the replay is {manifest.state} and not paused:\n{log.read_text()[-2000:]}")
    return manifest


def turns_of(settings: Settings, plan: Plan, bench: Bench, contender: Contender, turns: int) -> list[Turn]:
    """The replay reads what was stored, not what comes live. Raises NotProven, NotAcknowledged."""
    folder = create(settings, "live", plan, WHO)
    log, done, found = bench.folder / "replay.log", 0, []

    async def during() -> Turn:
        nonlocal done
        process, running_at = await _process(settings, folder, log)
        try:
            load = await asyncio.to_thread(bench.load, contender, CONNECTIONS, LIVE_RATE)
            manifest = await _paused(process, folder, log)
        finally:
            if process.returncode is None:
                process.kill()
        rate = figures.read_rate(manifest.records - done, running_at, manifest.ended_at)
        done = manifest.records
        return {**_waits("during", load), "replay_rate": rate}

    for number in range(turns):
        turn: Turn = {}
        for with_replay in (False, True) if number % 2 else (True, False):
            turn |= asyncio.run(during()) if with_replay else _waits("without", bench.load(contender, CONNECTIONS, LIVE_RATE))
        found.append(turn)
        console.print(
            f"turn {number + 1} of {turns}: p50 {turn['without_p50']:.2f} ms, during a replay that reads "
            f"{turn['replay_rate']:.0f}/s {turn['during_p50']:.2f} ms"
        )
    return found


def _waits(name: str, load: dict[str, Any]) -> Turn:
    return {f"{name}_{what}": load["latency_ms"][what] for what in ("p50", "p99")}


def measure(services: LocalServices, folder: Path, size: dict[str, Any]) -> dict[str, Any]:
    settings = settings_for(services, folder)
    ensure_all_topics(settings)
    load_tool = build_load_tool(folder)
    order = order_for("BENCH-1", patient="BENCH", assigner="HOSPITAL", at=datetime.now(UTC), control_id="BENCH")
    (folder / "order.hl7").write_bytes(order)
    console.print(f"storing {size['messages']:,} messages")
    asyncio.run(store(settings, size["messages"]))
    plan = asyncio.run(plan_of(settings))
    if plan.records != size["messages"]:
        raise NotProven(f"{size['messages']} messages were stored, the plan reads {plan.records}")
    rounds = rounds_of(settings, plan, size["rounds"])
    with running(["ours"], services.kafka_bootstrap, folder) as (contender,):
        bench = Bench(services.kafka_bootstrap, folder, load_tool, size["seconds"])
        bench.prove(contender, CONNECTIONS)
        turns = turns_of(settings, plan, bench, contender, size["turns"])
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        **size,
        "live_rate": LIVE_RATE,
        "replay": figures.replayed(rounds),
        "live": figures.acknowledged(turns, size["least_rate"]),
        "measurements": {"rounds": rounds, "turns": turns},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 short round of each")
    parser.add_argument("--messages", type=int, help=f"default {WHOLE['messages']:,}")
    parser.add_argument("--rounds", type=int, help=f"of the first part, default {WHOLE['rounds']}")
    parser.add_argument("--turns", type=int, help=f"of the second part, default {WHOLE['turns']}")
    parser.add_argument("--out", type=Path, default=Path("var/benchmarks/replay.json"), help="default %(default)s")
    told = parser.parse_args()
    asked = {name: value for name in ("messages", "rounds", "turns") if (value := getattr(told, name)) is not None}
    size = (QUICK if told.quick else WHOLE) | asked
    try:
        with (
            tempfile.TemporaryDirectory(prefix="radstream-replay-") as name,
            running_services(Path(name) / "services", ServicePorts.free(), only=("kafka",), tell=console.print) as services,
        ):
            result = measure(services, Path(name), size)
    except (ServiceError, RadstreamError, NotProven, NotAcknowledged, TimeoutError) as error:
        console.print(f"[red]{type(error).__name__}[/red]", str(error), markup=True)
        return 1
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(result, indent=1) + "\n")
    for table in figures.tables(result):
        Console(width=None if sys.stdout.isatty() else 120).print(table)
    verdicts = figures.verdicts(result)
    for words, held in verdicts.items():
        Console().print(f"{'holds' if held else 'MISSED'}  {words}")
    print(f"JSON: {told.out}")
    return 0 if told.quick or all(verdicts.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())

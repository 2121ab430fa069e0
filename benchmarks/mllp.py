"""The listener beside its peers: messages a second, latency at 300/s, fairness, memory; all against one real Kafka.

    .venv/bin/python benchmarks/mllp.py                # 5 rounds, about 15 minutes
    .venv/bin/python benchmarks/mllp.py --quick        # 1 short round: shows that it runs, its figures mean nothing

Ours with all its checks on, an Apache Camel mllp -> kafka route, python-hl7's server with aiokafka, and the floor, a bare
asyncio Protocol with uvloop and aiokafka. Rounds are interleaved: A B C D, A B C D. What is acknowledged must be on the topic: the
offsets are counted after every measurement, the ids compared once for each contender while it warms up; else the run fails.

Needs Go 1.19 or later (Debian: golang-go) for the load tool, beside what `make setup` installs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mllp_figures import Measurement, figures, tables
from peers.contenders import NAMES, Contender, machine, prepare, running
from rich.console import Console

from connectors.kafka import KafkaLog
from connectors.kafka_admin import topic_sizes
from schemas.errors import RadstreamError
from streams.demo.orders import order_for
from streams.services import ServiceError, ServicePorts, running_services
from streams.services.build import last_lines
from streams.services.service import program

LOAD_TOOL = Path(__file__).parent / "mllpload"
RATE = 300
SIZE = 1024
console = Console(stderr=True, highlight=False, soft_wrap=True)


class NotProven(Exception):
    """A contender answered AA for what is not there, or did not answer AA; no figure of it means anything."""


def build_load_tool(folder: Path) -> Path:
    """Raises ServiceError when Go is not installed."""
    try:
        go = program("go")
    except ServiceError:
        raise ServiceError("Go is not installed: apt-get install golang-go (1.19 or later)") from None
    console.print("building the load tool")
    built = subprocess.run([go, "build", "-o", folder, "."], cwd=LOAD_TOOL, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise ServiceError(f"go build failed:\n{built.stderr}")
    return folder / "mllpload"


@dataclass(frozen=True)
class Bench:
    bootstrap: str
    folder: Path
    load_tool: Path
    seconds: float

    def load(self, contender: Contender, connections: int, rate: int = 0, ids: Path | None = None) -> dict[str, Any]:
        """One run of the load tool. Raises NotProven when anything but AA came, or AA for more than the topic grew by."""
        before = self._records(contender)
        options = {
            "addr": contender.address, "conns": connections, "rate": rate, "duration": f"{self.seconds}s",
            "corpus": self.folder / "order.hl7", "size": SIZE,
        }  # fmt: skip
        command: list[str | Path] = [
            self.load_tool,
            *(f"-{name}={value}" for name, value in options.items()),
            *([f"-ids-out={ids}"] if ids else []),
        ]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if not ran.stdout:
            raise NotProven(f"{contender.name}: {ran.stderr}")
        result: dict[str, Any] = json.loads(ran.stdout)
        if result["acked_AA"] != result["sent"] or result["mismatched"] or result["errors"] or not result["sent"]:
            told = {key: value for key, value in result.items() if not isinstance(value, list)}
            raise NotProven(f"{contender.name}, {connections} connections: not all AA: {told}\n{last_lines(contender.log)}")
        result["stored"] = self._records(contender) - before
        if result["stored"] < result["acked_AA"]:
            raise NotProven(f"{contender.name}: {result['acked_AA']} acknowledged, {result['stored']} on {contender.topic}")
        return result

    def prove(self, contender: Contender, connections: int) -> int:
        """Warms it up, and compares ids. Nothing was sent before. Returns how many were acknowledged and found."""
        ids = self.folder / contender.name / "ids"
        self.load(contender, connections, ids=ids)
        acknowledged = set(ids.read_bytes().split())
        missing = acknowledged - asyncio.run(self._ids_of(contender))
        if missing or not acknowledged:
            raise NotProven(
                f"{contender.name}: {len(missing)} of {len(acknowledged)} acknowledged ids are not on {contender.topic}"
            )
        return len(acknowledged)

    def _records(self, contender: Contender) -> int:
        return topic_sizes(self.bootstrap, [contender.topic])[contender.topic].records

    async def _ids_of(self, contender: Contender) -> set[bytes]:
        """Every MSH-10 on its topic."""
        async with KafkaLog(self.bootstrap) as log:
            return {record.value.split(b"|", 10)[9] async for record in log.read(contender.topic)}


def rounds_of(
    bench: Bench, contenders: list[Contender], rounds: int, connections: list[int], tell: Callable[[str], None]
) -> list[Measurement]:
    done = []
    for number in range(1, rounds + 1):
        for count in connections:
            for rate in (0, RATE):
                for contender in contenders:
                    one = Measurement(
                        number, contender.name, count, rate, round(os.getloadavg()[0], 2), bench.load(contender, count, rate)
                    )
                    done.append(one)
                    tell(f"round {number} of {rounds}, {one}")
    return done


def run(names: list[str], rounds: int, seconds: float, connections: list[int], folder: Path) -> dict[str, Any]:
    prepare(names)
    load_tool = build_load_tool(folder)
    order = order_for("BENCH-1", patient="BENCH", assigner="HOSPITAL", at=datetime.now(UTC), control_id="BENCH")
    (folder / "order.hl7").write_bytes(order)
    ports = ServicePorts.free()
    with (
        running_services(folder / "services", ports, only=("kafka",), tell=console.print) as services,
        running(names, services.kafka_bootstrap, folder) as contenders,
    ):
        bench = Bench(services.kafka_bootstrap, folder, load_tool, seconds)
        proven = {}
        for contender in contenders:
            proven[contender.name] = bench.prove(contender, max(connections))
            console.print(f"{contender.name}: warm; {proven[contender.name]} acknowledged ids found on {contender.topic}")
        resident = {"warm": {contender.name: contender.resident_mib() for contender in contenders}}
        measured = rounds_of(bench, contenders, rounds, connections, console.print)
        resident["end"] = {contender.name: contender.resident_mib() for contender in contenders}
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "rounds": rounds,
        "seconds": seconds,
        "message_bytes": SIZE,
        "ids_proven": proven,
        "resident_mib": resident,
        "figures": figures(measured, resident["end"]),
        "measurements": [asdict(one) for one in measured],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 round of 1.5 s a measurement")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--seconds", type=float, help="length of one measurement, default 6")
    parser.add_argument("--connections", default="1,8,64", help="default %(default)s")
    parser.add_argument("--only", default=",".join(NAMES), help="default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("var/benchmarks/mllp.json"), help="default %(default)s")
    told = parser.parse_args()
    names = told.only.split(",")
    if unknown := set(names) - set(NAMES):
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(NAMES)}")
    try:
        connections = [int(count) for count in told.connections.split(",")]
    except ValueError:
        parser.error("--connections: numbers separated by commas")
    rounds = told.rounds or (1 if told.quick else 5)
    seconds = told.seconds or (1.5 if told.quick else 6.0)
    try:
        with tempfile.TemporaryDirectory(prefix="radstream-mllp-") as folder:
            result = run(names, rounds, seconds, connections, Path(folder))
    except (ServiceError, RadstreamError, NotProven) as error:
        console.print(f"[red]{type(error).__name__}[/red]", str(error), markup=True)
        return 1
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(result, indent=1) + "\n")
    for table in tables(result["figures"]):
        Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(f"JSON: {told.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

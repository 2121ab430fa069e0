"""Who runs in benchmarks/mllp.py: each is a process of its own that stores untouched bytes with acks=all before it answers."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from connectors.kafka_admin import TopicSpec, ensure_topics
from streams.services import ServiceError, process
from streams.services.build import last_lines, maven_package
from streams.services.probes import LOOPBACK, free_ports
from streams.services.service import program
from streams.topics import DEAD_LETTERS, HL7_RAW

HERE = Path(__file__).parent
OURS, CAMEL, PYTHON_HL7, FLOOR = NAMES = ("ours", "camel", "python-hl7", "floor")
_READY_S = 60.0


@dataclass(frozen=True)
class Contender:
    name: str
    topic: str
    port: int
    pid: int
    log: Path

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def resident_mib(self) -> dict[str, float]:
        """Now and at most so far, proc(5): VmRSS, VmHWM."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        kib = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if name.startswith("Vm")}
        return {"now": kib["VmRSS"] / 1024, "peak": kib["VmHWM"] / 1024}


def prepare(names: list[str]) -> None:
    """Builds what is built, so that no round waits for it. Raises ServiceError."""
    if CAMEL in names:
        maven_package(HERE / "camel", lambda text: print(text, file=sys.stderr))


def _command(name: str, port: int, bootstrap: str, topic: str, folder: Path) -> list[str]:
    match name:
        case "ours":
            settings = {
                "RADSTREAM_MLLP__PORT": port,
                "RADSTREAM_KAFKA__BOOTSTRAP": bootstrap,
                "RADSTREAM_RUN_FOLDER": folder / "run",
            }
            return ["env", *(f"{key}={value}" for key, value in settings.items()), sys.executable, "-m", "streams", "listen"]
        case "camel":
            target = HERE / "camel" / "target"
            told = {"port": port, "bootstrap": bootstrap, "topic": topic, "java.io.tmpdir": folder}
            # the flags that the pom names; none of those with which our local services start quickly and run slowly
            return [
                program("java"), "-Xms512m", "-Xmx512m", *(f"-D{key}={value}" for key, value in told.items()),
                "-cp", f"{target / 'classes'}:{target / 'libs'}/*", "MllpToKafka",
            ]  # fmt: skip
        case "python-hl7":
            return [sys.executable, str(HERE / "python_hl7.py"), str(port), bootstrap, topic]
        case _:
            return [sys.executable, str(HERE / "floor.py"), str(port), bootstrap, topic]


@contextmanager
def running(names: list[str], bootstrap: str, folder: Path) -> Iterator[list[Contender]]:
    """All of them, ready, for the length of a `with`. Raises ServiceError when one does not start.

    All senders of the load tool are one to us, whose key is the sender: one partition. So the others have one too, which is
    also their quickest."""
    topics = {name: HL7_RAW.name if name == OURS else f"peer.{name}" for name in names}
    of_ours = [TopicSpec(topic.name, topic.partitions, topic.config) for topic in (HL7_RAW, DEAD_LETTERS)]
    of_peers = [TopicSpec(topic, 1, HL7_RAW.config) for name, topic in topics.items() if name != OURS]
    ensure_topics(bootstrap, [*of_ours, *of_peers])
    with ExitStack() as stack:
        started = []
        for name, port in zip(names, free_ports(len(names)), strict=True):
            home = folder / name
            home.mkdir()
            log = home / f"{name}.log"
            tether = process.start(_command(name, port, bootstrap, topics[name], home), home, log, {"mllp": port}, attached=True)
            stack.callback(tether.stop)
            _await_port(name, port, tether, log)
            started.append(Contender(name, topics[name], port, _child(tether.pid), log))
        yield started


def _await_port(name: str, port: int, tether: process.RunningProcess, log: Path) -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end and tether.is_alive():
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
        except OSError:
            time.sleep(0.1)  # a port is asked: there is no event to await
        else:
            return
    raise ServiceError(f"{name} does not listen:\n{last_lines(log)}")


def _child(pid: int) -> int:
    """The contender itself: the only child of the process that ends it together with us."""
    [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def machine() -> dict[str, object]:
    model = next(line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    return {"cores": os.cpu_count(), "processor": model, "python": sys.version.split()[0]}

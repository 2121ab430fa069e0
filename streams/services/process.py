"""One background process and the file that remembers it, so that another command can find and stop it."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from streams.services import tether
from streams.whole_file import write_whole

GRACE_SECONDS = 20.0
_children: dict[int, subprocess.Popen[bytes]] = {}  # a child of ours that has ended stays a zombie until waited for


@dataclass(frozen=True)
class RunningProcess:
    """A process by id *and* start time: an id alone may meanwhile belong to somebody else."""

    pid: int
    start_ticks: int
    ports: Mapping[str, int]

    def is_alive(self) -> bool:
        return _start_ticks(self.pid) == self.start_ticks

    def uptime_seconds(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.start_ticks / os.sysconf("SC_CLK_TCK")

    def stop(self, grace_seconds: float = GRACE_SECONDS, *, kill: bool = False) -> None:
        """Ask it to end, and kill it when it has not done so after `grace_seconds`. Returns when it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if not self.is_alive():
                return
            signal.pidfd_send_signal(handle, signal.SIGKILL if kill else signal.SIGTERM)
            if not select.select([handle], [], [], grace_seconds)[0]:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [], grace_seconds)
        except ProcessLookupError:  # it ended by itself in between
            return
        finally:
            os.close(handle)
            if child := _children.pop(self.pid, None):
                child.wait()

    def remember(self, file: Path) -> None:
        write_whole(file, json.dumps(asdict(self)).encode("ascii"), 0o666, sync=False)


def myself() -> RunningProcess:
    """The process that asks."""
    return RunningProcess(os.getpid(), _start_ticks(os.getpid()) or 0, {})


def recall(file: Path) -> RunningProcess | None:
    """What `remember` wrote, or None; the process may have ended since."""
    try:
        return RunningProcess(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None


def start(command: list[str], folder: Path, log: Path, ports: Mapping[str, int], *, attached: bool) -> RunningProcess:
    """Start `command` in `folder`, its output in `log` (the one before is kept as `.previous`).

    Attached: it ends when this process ends, however that comes about. Otherwise it stays until somebody stops it.
    Either way it has a session of its own, so that an interrupt at the keyboard reaches us first, who stop it in order.
    """
    if attached:
        tethered = [sys.executable, "-S", "-E", tether.__file__, str(os.getpid()), str(GRACE_SECONDS)]
        command = tethered + command
    if log.exists():
        log.replace(log.with_suffix(".previous"))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    _children[process.pid] = process
    return RunningProcess(process.pid, _start_ticks(process.pid) or 0, dict(ports))


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat, proc(5): clock ticks since boot; None when there is no such process, or a zombie."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] in "ZX" else int(after_name[19])

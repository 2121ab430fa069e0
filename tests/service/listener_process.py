"""The process `radstream listen` as an operator has it: started, killed, stopped, looked at from outside."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from streams.listener_settings import MllpSettings
from streams.services.probes import LOOPBACK, free_ports
from streams.settings import KafkaSettings, Settings, as_environment

ROOT = Path(__file__).parents[2]


class ListenerProcess:
    """One port, kept over restarts. `append_timeout_s`: how long Kafka may take; `mllp`: settings of the section of that name."""

    def __init__(self, bootstrap: str, folder: Path, append_timeout_s: float = 5.0, **mllp: Any) -> None:
        [self.port] = free_ports(1)
        self.folder = folder
        self.log = folder / "listen.log"
        self._settings = Settings(
            run_folder=folder / "run",
            kafka=KafkaSettings(bootstrap=bootstrap, append_timeout_s=append_timeout_s),
            mllp=MllpSettings(port=self.port, storing_timeout_s=append_timeout_s, **mllp),
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, within_s: float = 60) -> None:
        """Returns when the port is open. Fails when the process ends instead: the port was not free, for one."""
        environment = {**os.environ, **as_environment(self._settings), "PYTHONPATH": str(ROOT)}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streams", "listen"], cwd=self.folder, env=environment, stdout=output, stderr=output
            )
        end = time.monotonic() + within_s
        while not self.is_open():
            if self._process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"the listener does not listen:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)  # a port is asked: there is no event to await

    def is_open(self) -> bool:
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """-9, and gone."""
        self._running.kill()
        self._running.wait()

    def terminate(self) -> None:
        self._running.terminate()

    def wait(self, within_s: float) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        return self._running.wait(within_s)

    def end(self) -> None:
        """At the end of a test, whatever became of it. Fails when something was reported that a person would have to look at."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        told = self.log.read_text()
        assert "Traceback" not in told and "never retrieved" not in told, told[-4000:]

    def resident_mib(self) -> float:
        """VmRSS, proc(5)."""
        status = Path(f"/proc/{self._running.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def unread_bytes(self) -> int:
        """Sent to it and not taken by it: the queues of its connections, both ends, /proc/net/tcp, proc(5)."""
        total = 0
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, _, queues, *_ = line.split()
            sent, received = (int(size, 16) for size in queues.split(":"))
            if local.endswith(f":{self.port:04X}"):
                total += received
            if remote.endswith(f":{self.port:04X}"):
                total += sent
        return total

    @property
    def is_running(self) -> bool:
        return self._running.poll() is None

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

"""`radstream model serve` as a user starts it, a process of its own."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from streams.settings import Settings, as_environment
from tests.contract.mlserver_process import free_port

_START_S, _STOP_S = 240, 60


@dataclass(frozen=True)
class Serving:
    url: str
    process: subprocess.Popen[str]
    #: what it says until it listens
    said: list[str]


@contextmanager
def model_serve(settings: Settings, log: Path, *packages: str) -> Iterator[Serving]:
    """`settings.serving.port` is a free one. Ended by TERM; the exit code must be 0."""
    port = free_port()
    settings = settings.model_copy(update={"serving": settings.serving.model_copy(update={"port": port})})
    command = [sys.executable, "-m", "streams", "model", "serve", *packages]
    environment = {**os.environ, **as_environment(settings)}
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    try:
        yield Serving(f"http://127.0.0.1:{port}", process, _said(process.stdout, log))
        process.terminate()
        assert process.wait(_STOP_S) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


def _said(output: IO[str], log: Path) -> list[str]:
    """Two lines, or none when it has ended."""
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: [lines.put(output.readline()) for _ in range(2)], daemon=True).start()
    said = [lines.get(timeout=_START_S).strip() for _ in range(2)]
    if not all(said):
        raise RuntimeError(f"it has not started: {log.read_text()[-2000:]}")
    return said

"""`radstream up` and `radstream down`: the whole engine from one terminal."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

from schemas.errors import Unavailable
from streams.observability import configure_logging
from streams.settings import Settings
from streams.supervisor import Supervisor
from streams.wiring import ROLES, ensure_all_topics


class AlreadyUp(Unavailable):
    """Another engine runs from the same folder."""


def _pid_file(settings: Settings) -> Path:
    return settings.run_folder / "engine.pid"


def _running(settings: Settings) -> int | None:
    """The pid of the engine that runs from this folder. The file alone proves nothing: pids are used again."""
    try:
        pid = int(_pid_file(settings).read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ValueError):
        return None
    return pid if b"radstream" in command or b"streams" in command else None


async def run_up(settings: Settings, tell: Callable[[str], None]) -> None:
    """Runs until TERM or Ctrl-C. Raises AlreadyUp, BrokerUnavailable, TimeoutError (a role is not ready)."""
    configure_logging("up")
    if pid := _running(settings):
        raise AlreadyUp("up", f"process {pid}", f"an engine already runs from {settings.run_folder}; `radstream down` stops it")
    settings.run_folder.mkdir(parents=True, exist_ok=True)
    await asyncio.to_thread(ensure_all_topics, settings)
    supervisor = Supervisor(ROLES, settings.run_folder, kill_after_s=settings.runner.kill_after_s)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    _pid_file(settings).write_text(str(os.getpid()))
    try:
        async with supervisor.running():
            await supervisor.ready(120)
            tell(
                f"radstream is up: MLLP on {settings.mllp.host}:{settings.mllp.port}, logs in {settings.run_folder}. "
                "Ctrl-C or `radstream down` stops it."
            )
            await supervisor.stopped()
    finally:
        _pid_file(settings).unlink(missing_ok=True)


def stop_up(settings: Settings) -> str:
    """TERM to the running engine, and its end awaited. Returns what happened, in words."""
    pid = _running(settings)
    if pid is None:
        return "no engine runs from this folder"
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        ended, _, _ = select.select([handle], [], [], settings.runner.kill_after_s + 5)
        if not ended:
            signal.pidfd_send_signal(handle, signal.SIGKILL)  # its roles die with it (PR_SET_PDEATHSIG)
            return "the engine did not stop in time and was killed; nothing is lost"
    finally:
        os.close(handle)
    return "the engine has stopped"

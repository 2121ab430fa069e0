"""`radstream up` and `radstream down`: the whole engine from one terminal, or behind it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import Unavailable
from streams.audit.acts import login_name
from streams.audit.settings_changed import audit_settings
from streams.clock import SystemClock
from streams.health import make_run_folder
from streams.observability import configure_logging
from streams.services import process
from streams.services.build import last_lines
from streams.services.process import RunningProcess
from streams.settings import Settings
from streams.supervisor import Supervisor
from streams.wiring import ROLES
from streams.wiring.clients import ensure_all_topics, live_history_for, log_for

_READY_S = 120.0


class AlreadyUp(Unavailable):
    """Another engine runs from the same folder."""


class NotUp(Unavailable):
    """The engine that was started ended, or is not ready in time."""


def _file(settings: Settings) -> Path:
    """Remembers the engine that is ready; outside the folder of health files."""
    return settings.run_folder.with_suffix(".engine.json")


def _running(settings: Settings) -> RunningProcess | None:
    engine = process.recall(_file(settings))
    return engine if engine and engine.is_alive() else None


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One engine per run folder, also while it starts. Raises AlreadyUp, SettingsInvalid (the folder cannot be made)."""
    make_run_folder(settings.run_folder)
    with settings.run_folder.with_suffix(".engine.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            advice = f"an engine already runs, or starts, from {settings.run_folder}; `radstream down` stops it"
            raise AlreadyUp("up", str(settings.run_folder), advice) from None
        yield


async def run_up(settings: Settings, tell: Callable[[str], None]) -> None:
    """Runs until TERM or Ctrl-C. Raises AlreadyUp, BrokerUnavailable, RoleWillNotStart, TimeoutError (a role is not ready)."""
    configure_logging("up")
    with _alone(settings):
        await asyncio.to_thread(ensure_all_topics, settings)
        async with log_for(settings) as log:
            await audit_settings(log, live_history_for(settings), settings, by=login_name(), clock=SystemClock())
        os.umask(0o077)  # what the roles log is nobody else's
        supervisor = Supervisor(ROLES, settings.run_folder, kill_after_s=settings.runner.kill_after_s)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.stop)
        try:
            async with supervisor.running():
                if not await supervisor.ready(_READY_S):
                    tell("stopped before it was ready")
                    return
                process.myself().remember(_file(settings))
                tell(f"{_where(settings)}. Ctrl-C or `radstream down` stops it.")
                await supervisor.stopped()
        finally:
            _file(settings).unlink(missing_ok=True)


async def start_up(settings: Settings) -> str:
    """Starts the engine behind this terminal and returns, in words, once it is ready. Raises NotUp."""
    if _running(settings):
        return f"already up: {_where(settings)}"
    make_run_folder(settings.run_folder)
    log = settings.run_folder / "up.log"
    engine = process.start([sys.executable, "-m", "streams", "up"], Path.cwd(), log, {}, attached=False)
    try:
        async with asyncio.timeout(_READY_S + 30):
            while _running(settings) is None:
                if not engine.is_alive():
                    raise NotUp("up", f"process {engine.pid}", f"{last_lines(log, 1).strip()} (all of it: {log})")
                await asyncio.sleep(0.1)  # another process says so in a file: there is no event to await
    except TimeoutError:
        await asyncio.to_thread(engine.stop)
        raise NotUp("up", f"process {engine.pid}", f"the engine is not ready; see the logs in {settings.run_folder}") from None
    return _where(settings)


def _where(settings: Settings) -> str:
    listeners = ", ".join(one.name for one in settings.mllp.all)
    doors = [f"MLLP on {listeners}"]
    if settings.webhook.token_file is not None:
        doors.append(f"webhook on {settings.webhook.host}:{settings.webhook.port}")
    if settings.dicom.port is not None:
        doors.append(f"DICOM on {settings.dicom.host}:{settings.dicom.port}")
    told = ", ".join(settings.destinations.names)
    return f"the engine is up: {', '.join(doors)}; delivers to {told}; logs in {settings.run_folder}"


def stop_up(settings: Settings) -> str:
    """TERM to the running engine, its end awaited, KILL after a time: its roles die with it, and nothing is lost. Returns what
    happened, in words."""
    engine = _running(settings)
    if engine is None:
        return "no engine runs from this folder"
    engine.stop(settings.runner.kill_after_s + 5)
    return "the engine has stopped"

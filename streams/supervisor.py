"""`radstream up`: one process per role; a role that ends is started again after a growing pause; stopping is TERM, then KILL.

A role may be killed at any moment: offsets are committed last, so that what it had begun is done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from schemas.errors import RadstreamError
from streams.health import read_health

log = structlog.get_logger()

#: after this long without ending, a role counts as sound and its next restart is quick again
_SOUND_AFTER_S = 30.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0


class RoleWillNotStart(RadstreamError):
    """A role that was never ready ended with exit code 2: its settings cannot work, and starting it again would not help."""


#: mallopt(3): of as many arenas as glibc would make for the threads of a role, each keeps what another one needed last
_MEMORY = {"MALLOC_ARENA_MAX": "2"}


class Supervisor:
    """Runs `python -m streams.role ROLE` for each role: not the command line, whose imports a role does not need.
    `run_folder` holds the health files and the log of each role; `environment` is that of each role started from now on."""

    def __init__(
        self, roles: Sequence[str], run_folder: Path, *, kill_after_s: float, environment: Mapping[str, str] | None = None
    ) -> None:
        self._roles = tuple(roles)
        self._folder = run_folder
        self._kill_after_s = kill_after_s
        self.environment = {**_MEMORY, **os.environ, **(environment or {}), "RADSTREAM_SUPERVISOR": str(os.getpid())}
        self._stop = asyncio.Event()
        self._failed: list[str] = []
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.restarts: dict[str, int] = dict.fromkeys(self._roles, 0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Supervisor]:
        """The engine runs inside the block; at its end every process is gone."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._forget()
        tasks = [asyncio.create_task(self._keep(role), name=role) for role in self._roles]
        for task in tasks:
            task.add_done_callback(lambda _: self._stop.set())  # it keeps its role until the end: ending earlier is the end
        try:
            yield self
        finally:
            self._stop.set()
            await asyncio.wait(tasks)
            self._forget()
        for task in tasks:
            task.result()

    async def ready(self, timeout_s: float) -> bool:
        """True when every role has said that it is ready, False when stop was asked before. Raises RoleWillNotStart,
        TimeoutError naming who is missing."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while waiting := [role for role in self._roles if not self._is_ready(role)]:
            if self._failed:
                raise RoleWillNotStart("up", ", ".join(self._failed), self._last_words(self._failed))
            if self._stop.is_set():
                return False
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"not ready after {timeout_s:.0f} s: {', '.join(waiting)}: {self._last_words(waiting)}")
            await asyncio.sleep(0.05)  # health is a file: there is no event to await
        return True

    async def stopped(self) -> None:
        """Returns when the engine was told to stop, or cannot run."""
        await self._stop.wait()

    def stop(self) -> None:
        """Ask for the end; `running()` waits for it."""
        self._stop.set()

    def _forget(self) -> None:
        """A role that is stopped has no health."""
        for stale in self._folder.glob("*.json"):
            stale.unlink()

    def _is_ready(self, role: str) -> bool:
        health = read_health(self._folder).get(role.replace(" ", "-"))
        process = self.processes.get(role)
        return bool(health and process and health.pid == process.pid and health.state != "starting")

    async def _keep(self, role: str) -> None:
        pause, was_ready = _FIRST_PAUSE_S, False
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            started = loop.time()
            try:
                code = await self._run_once(role)
            except OSError as error:  # no process, no memory, no place for the log: as bad as a role that ends, and no worse
                log.error("a role could not be started", failed=role, error=os.strerror(error.errno or 0))  # noqa: TRY400
                code = 1
            if self._stop.is_set():
                return
            was_ready = was_ready or self._is_ready(role)  # its last word, on file
            if code == 2 and not was_ready:
                log.error("a role cannot start: its settings are invalid", failed=role, log=str(self._log_file(role)))
                self._failed.append(role)
                self._stop.set()
                return
            pause = _FIRST_PAUSE_S if loop.time() - started > _SOUND_AFTER_S else min(pause * 2, _LONGEST_PAUSE_S)
            self.restarts[role] += 1
            say = log.error if code == 2 else log.warning  # settings worked before: a file is gone, and may come back
            say("a role ended and is started again", ended=role, code=code, pause_s=pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)

    async def _run_once(self, role: str) -> int:
        with self._log_file(role).open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "streams.role", role, stdin=asyncio.subprocess.DEVNULL,
                stdout=output, stderr=output, env=self.environment, start_new_session=True,
            )  # fmt: skip
        self.processes[role] = process
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            process.terminate()
            try:
                await asyncio.wait_for(asyncio.shield(ended), self._kill_after_s)
            except TimeoutError:
                log.warning("a role did not end in time and is killed", killed=role)
        # its own children too (decoders): they share the role's session
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return await ended

    def _last_words(self, roles: Sequence[str]) -> str:
        """The last line of each role's log: it names what is wrong, and the folder may be a temporary one."""
        lines = {role: self._log_file(role).read_text(errors="replace").strip().rpartition("\n")[2] for role in roles}
        said = "; ".join(f"{role}: {line}" for role, line in lines.items() if line)
        return f"{said or 'nothing was logged'} (logs in {self._folder})"

    def _log_file(self, role: str) -> Path:
        return self._folder / f"{role.replace(' ', '-')}.log"

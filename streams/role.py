"""The life of one role's process: bound to its supervisor, stopped by TERM, its health on file."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog

from schemas.errors import RadstreamError, SettingsInvalid, Unavailable
from streams.health import Health
from streams.observability import configure_logging
from streams.settings import Settings, read_settings

log = structlog.get_logger()

_PR_SET_PDEATHSIG = 1  # prctl(2)

Body = Callable[[Settings, asyncio.Event, Health], Awaitable[None]]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def _bind_to_supervisor() -> None:
    """When the supervisor is killed the kernel kills this role too: nothing is left behind, and nothing is lost by it."""
    supervisor = os.environ.get("RADSTREAM_SUPERVISOR")
    if supervisor is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(supervisor):  # it ended between our birth and prctl
        sys.exit(1)


async def _until_stopped(body: Body, settings: Settings, health: Health) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await body(settings, stop, health)


def run_role(role: str, body: Body, settings: Settings, loop_factory: LoopFactory | None = None) -> int:
    """Runs `body` to its end; returns the exit code: 0 stopped, 1 failed (the supervisor starts it again), 2 settings."""
    _bind_to_supervisor()
    configure_logging(role)
    os.umask(0o077)  # the database and the logs are nobody else's
    try:
        health = Health(settings.run_folder, role.replace(" ", "-"))
        health.set("starting")
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_until_stopped(body, settings, health))
    except SettingsInvalid as error:
        log.error("settings are invalid", error=str(error))  # noqa: TRY400 - our own words are enough
        return 2
    except Unavailable as error:
        log.error("a dependency does not answer; the role will be started again", error=str(error))  # noqa: TRY400
        return 1
    except RadstreamError as error:
        log.error("the role failed", error=str(error))  # noqa: TRY400
        return 1
    return 0


def main(role: str) -> int:
    """The process of one role, as the supervisor and the command line start it."""
    from streams.wiring import body_of, loop_factory_of  # wiring names the bodies by this module's types

    try:
        settings = read_settings()
    except SettingsInvalid as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return run_role(role, body_of(role), settings, loop_factory_of(role))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

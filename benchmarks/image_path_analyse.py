"""The role `work analyse` with a probe in its event loop, as benchmarks/image_path.py starts it.

    python benchmarks/image_path_analyse.py FILE

A task wants to wake every 5 ms; FILE takes, for each time, when that was (seconds since 1970) and how late it was (ms).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path

PERIOD_S = 0.005
ROLE = "work analyse"


async def lateness(file: Path) -> None:
    """Until it is cancelled. One line in 200 reaches the disk by itself: the probe must not be what is late."""
    loop = asyncio.get_running_loop()
    with file.open("w", buffering=1 << 14) as out:
        while True:
            due = loop.time() + PERIOD_S
            await asyncio.sleep(PERIOD_S)
            out.write(f"{time.time():.3f} {(loop.time() - due) * 1000:.2f}\n")


def main() -> int:
    # inside: what a decoding process imports as its main module must not bring the engine with it
    from streams.health import Health
    from streams.role import run_role
    from streams.settings import Settings, read_settings
    from streams.wiring import body_of

    async def body(settings: Settings, stop: asyncio.Event, health: Health) -> None:
        probe = asyncio.create_task(lateness(Path(sys.argv[1])))
        try:
            await body_of(ROLE)(settings, stop, health)
        finally:
            probe.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await probe

    return run_role(ROLE, body, read_settings())


if __name__ == "__main__":
    sys.exit(main())

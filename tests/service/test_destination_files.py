"""A destination whose file is missing, on a real Kafka: refused when it is new, and no reason to stop the engine later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from schemas.errors import SettingsInvalid
from streams.destination_settings import DestinationSettings, WebhookDestination
from streams.discrepancy_settings import DiscrepancySettings
from streams.health import Health, RoleHealth, read_health
from streams.services import LocalServices
from streams.settings import DatabaseSettings, KafkaSettings, Settings
from streams.wiring.destinations import destinations
from streams.wiring.edges import deliver_to

pytestmark = [pytest.mark.service, pytest.mark.timeout(180)]


class Bench:
    """The role `deliver` with one web server, which is also warned of discrepancies, and its secret on file."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.name = f"viewer-{uuid4().hex[:8]}"
        self.secret = folder / "secret"
        self.secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        viewer = WebhookDestination(name=self.name, url="http://127.0.0.1:9/", secret_file=self.secret)
        self.settings = Settings(
            run_folder=folder / "run",
            kafka=KafkaSettings(bootstrap=bootstrap),
            database=DatabaseSettings(url=f"sqlite:///{folder}/cases.db"),
            destinations=DestinationSettings(webhook=(viewer,)),
            discrepancies=DiscrepancySettings(receiver=self.name),
        )

    async def once(self, stop: asyncio.Event) -> None:
        named = [one for one in destinations(self.settings) if one.name == self.name]
        await deliver_to(named, self.settings, stop, Health(self.settings.run_folder, "deliver"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(self.once(stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def until(self, state: str, *reasons: str) -> RoleHealth:
        async with asyncio.timeout(60):
            while True:
                health = read_health(self.settings.run_folder).get("deliver")
                if health and health.state == state and all(reason in health.reason for reason in reasons):
                    return health
                await asyncio.sleep(0.05)  # health is a file: there is no event to await


async def test_it_is_refused_when_it_is_new_and_later_is_paused_until_the_file_is_there(
    broker: LocalServices, tmp_path: Path
) -> None:
    bench = Bench(broker.kafka_bootstrap, tmp_path)
    key = bench.secret.read_text()
    bench.secret.unlink()
    with pytest.raises(SettingsInvalid, match="secret"):
        await bench.once(asyncio.Event())
    bench.secret.write_text(key)
    async with bench.running():
        await bench.until("ready")
    bench.secret.unlink()
    async with bench.running():
        health = await bench.until("paused", f"{bench.name}: ", "discrepancies: ")
        assert str(bench.secret) in health.reason
        bench.secret.write_text(key)
        await bench.until("ready")

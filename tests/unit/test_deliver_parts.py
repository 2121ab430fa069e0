"""What the role `deliver` does at a time, and what each of it is called in its health."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streams.destination_settings import DestinationSettings, WebhookDestination
from streams.health import Health, Part
from streams.settings import Settings
from streams.wiring import destinations as wired
from streams.wiring.edges import deliver


async def test_no_destination_shares_its_health_with_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is called."""
    stop, parts = asyncio.Event(), list[str]()
    names = ("discrepancies", "warn")

    async def run(part: Part) -> None:
        parts.append(part.name)
        if len(parts) == len(names) + 2:  # and that of the section fhir, and discrepancies
            stop.set()
        await stop.wait()

    monkeypatch.setattr(wired, "bring", lambda _one, _settings, _stop, part: run(part))
    monkeypatch.setattr(wired, "warn", lambda _settings, _stop, part: run(part))
    of = tuple(WebhookDestination(name=name, url="http://127.0.0.1:9", secret_file=tmp_path / "s") for name in names)
    settings = Settings(run_folder=tmp_path, destinations=DestinationSettings(webhook=of))
    async with asyncio.timeout(30):
        await deliver(settings, stop, Health(tmp_path, "deliver"))
    assert sorted(parts) == ["discrepancies", "fhir", "warn", "warn:discrepancies"]

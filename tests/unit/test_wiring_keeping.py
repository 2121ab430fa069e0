"""The role `work keep`: the archive begins behind the notary's first look, so that nothing stands in it which no chain covers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from schemas.errors import BrokerUnavailable, SettingsInvalid
from schemas.history import Span
from streams import topics
from streams.audit_settings import AuditSettings
from streams.health import Health, Part, Shared
from streams.segment_settings import SegmentSettings
from streams.settings import Settings
from streams.wiring import keeping
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory


class Asked(FakeHistory):
    def __init__(self) -> None:
        super().__init__(FakeEventLog(topics.HL7_RAW.name))
        self.asked = asyncio.Event()

    async def spans(self, topic: str) -> Sequence[Span]:
        self.asked.set()
        return await super().spans(topic)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked()
    monkeypatch.setattr(keeping, "live_history_for", lambda _: nullcontext(found))
    return found


@pytest.fixture
def part(tmp_path: Path) -> Part:
    return Shared(Health(tmp_path, "work-keep")).part("archive")


async def test_the_archive_waits_for_the_first_look_of_the_notary(live: Asked, part: Part, tmp_path: Path) -> None:
    settings = Settings(segments=SegmentSettings(url=str(tmp_path / "segments")))
    stop, looked = asyncio.Event(), asyncio.Event()
    told = asyncio.Event()

    class Waiting(Part):
        def set(self, state: str, reason: str = "", note: str = "") -> None:
            if note == "it waits for the first look of the notary":
                told.set()

    task = asyncio.create_task(keeping._archive(settings, stop, Waiting(part.shared, part.name), looked=looked))
    await asyncio.wait_for(told.wait(), 30)
    assert not live.asked.is_set()
    looked.set()
    await asyncio.wait_for(live.asked.wait(), 30)
    stop.set()
    await task


async def test_it_ends_while_it_waits(live: Asked, part: Part, tmp_path: Path) -> None:
    settings = Settings(segments=SegmentSettings(url=str(tmp_path / "segments")))
    stop = asyncio.Event()
    stop.set()
    await keeping._archive(settings, stop, part, looked=asyncio.Event())
    assert not live.asked.is_set()


async def test_a_notary_that_is_off_keeps_no_archive_waiting(part: Part) -> None:
    stop, looked = asyncio.Event(), asyncio.Event()
    settings = Settings(audit=AuditSettings(checkpoint_interval_s=None))
    task = asyncio.create_task(keeping._notary(settings, stop, part, looked=looked))
    await asyncio.wait_for(looked.wait(), 30)
    stop.set()
    await task


@pytest.mark.parametrize(
    ("error", "goes_on"), [(SettingsInvalid("audit", "key", "is gone"), True), (BrokerUnavailable("log", "", "away"), False)]
)
async def test_nor_does_one_that_ends_but_for_want_of_the_broker(
    live: Asked, part: Part, monkeypatch: pytest.MonkeyPatch, error: Exception, goes_on: bool
) -> None:
    def ending(_: object) -> None:
        raise error

    monkeypatch.setattr("streams.audit.signing.signer_of", ending)
    looked = asyncio.Event()
    with pytest.raises(type(error)):
        await keeping._notary(Settings(), asyncio.Event(), part, looked=looked)
    assert looked.is_set() == goes_on

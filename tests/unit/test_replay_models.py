"""Which models speak in a replay, and that a run which goes on has the same."""

from __future__ import annotations

import io
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from connectors.case_store import SqlCaseStore
from schemas.errors import ModelFailed, SettingsInvalid
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS
from streams import topics
from streams.model_store import digest_of
from streams.promotion.models_in_use import InUse
from streams.replay.manifest import PinnedModel
from streams.settings import Settings
from streams.steps.choosing import IntendedUse
from streams.wiring import models, replays
from streams.wiring.replays import gate_digest, pin_of, pinned_models
from streams.wiring.walk import analysing_name
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.analyses import ScriptedModel, using

OWN = "chest-nodule/2"


class Packages:
    """What is loaded and closed, instead of processes with models in them."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.closed = 0
        self.card_sha256 = "1" * 64

    async def load(self, reference: str, **_: object) -> InUse:
        self.loaded.append(reference)
        return InUse(ScriptedModel(), IntendedUse(), self._close, self.card_sha256)

    async def _close(self) -> None:
        self.closed += 1


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Packages:
    found = Packages()
    monkeypatch.setattr(models, "load_in_use", found.load)
    return found


async def pinned(
    asked: tuple[str, ...] = (), before: dict[str, PinnedModel] | None = None, settings: Settings | None = None
) -> dict[str, PinnedModel]:
    log, settings = FakeEventLog(topics.MODELS.name), settings or Settings()
    async with AsyncExitStack() as stack:
        found = await pinned_models(settings, log, asked, before or {}, stack)
        gate = await gate_digest(settings)
        return {service: pin_of(speaking.current, gate) for service, speaking in found.items()}


async def test_what_is_in_use_speaks_and_is_closed_at_the_end(packages: Packages) -> None:
    found = await pinned()
    assert packages.loaded == [OWN]
    gate = digest_of(Path("models/packages/chest-gate/1/card.toml"))
    assert found[CHEST_RADIOGRAPH_FINDINGS] == PinnedModel(
        reference="scripted/1", weights_sha256="0" * 64, card_sha256="1" * 64, gate_sha256=gate
    )
    assert packages.closed == 1


async def test_a_run_that_goes_on_has_what_was_pinned(packages: Packages) -> None:
    before = await pinned()
    assert await pinned(before=before) == before
    assert packages.loaded == [OWN, "scripted/1"]


async def test_a_package_that_was_changed_is_refused(packages: Packages) -> None:
    before = await pinned()
    packages.card_sha256 = "2" * 64
    with pytest.raises(ModelFailed, match="changed since the replay began"):
        await pinned(before=before)
    assert packages.closed == 2


async def test_a_gate_that_was_changed_is_refused(packages: Packages, tmp_path: Path) -> None:
    shutil.copytree("models/packages", tmp_path / "packages")
    settings = Settings(models={"url": str(tmp_path / "packages")})
    before = await pinned(settings=settings)
    card = tmp_path / "packages/chest-gate/1/card.toml"
    card.write_text(card.read_text().replace("threshold = 0.1399", "threshold = 0.2"))
    with pytest.raises(ModelFailed, match="the gate before it was changed"):
        await pinned(before=before, settings=settings)


async def test_who_is_asked_for_speaks_and_a_package_that_is_none_is_told(packages: Packages) -> None:
    await pinned(("chest-nodule/1",))
    assert packages.loaded == ["chest-nodule/1"]
    with pytest.raises(SettingsInvalid):
        await pinned(("no-such/1",))


async def test_a_request_that_a_step_parked_for_itself_is_for_the_same_step_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps = {"analyse": CHEST_RADIOGRAPH_FINDINGS, "analyse.other": "other"}
    assert {analysing_name(service): service for service in steps.values()} == steps
    monkeypatch.setattr(replays, "decoder_for", lambda settings: io.BytesIO())
    speaking = {service: using(ScriptedModel()) for service in steps.values()}
    cases = SqlCaseStore(f"sqlite:///{tmp_path}/cases.db")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cases.close)
        parts = replays._analysing(Settings(), speaking, cases, stack)
        assert [part.name for part in parts] == list(steps)

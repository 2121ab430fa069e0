"""A person promotes, and sees whether every worker took it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.torch_network import TorchNetwork
from schemas.errors import ModelFailed, SettingsInvalid
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, ModelIdentity
from streams import topics
from streams.cli import app
from streams.health import RoleHealth
from streams.promotion.acts import Acts, promotion, recall, recall_key, taken, told
from streams.promotion.promoting import keeps_its_service, read_acts, run_promote, taken_by_all, was_not_recalled
from streams.promotion.verifying import run_verify, verified
from streams.settings import Settings
from streams.wiring.running import instance_of
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.packages import CLOCK, NOW, OWN, Packages, digest, model, worker

SERVICE = CHEST_RADIOGRAPH_FINDINGS
PACKAGES = Path(__file__).parents[2] / "models" / "packages"


@pytest.fixture
def log() -> FakeEventLog:
    log = FakeEventLog(topics.AUDIT.name)
    log.create(topics.MODELS.name, partitions=1)
    return log


async def promote(
    log: FakeEventLog, reference: str, wait_s: float = 5, roles: Mapping[str, RoleHealth] | None = None
) -> tuple[bool, list[str]]:
    """What the command does once the package is known to be well."""
    name, _, version = reference.partition("/")
    of = ModelIdentity(name=name, version=version, weights_sha256=digest(reference))
    event = promotion(of, SERVICE, approved_by="Dr A", reason="why", at=CLOCK.now())
    place, _ = await log.append(told(event, name))
    said: list[str] = []
    return await taken_by_all(log, event, place, wait_s, said.append, roles or {}), said


def uses(reference: str, name: str = "analyse-there", service: str = SERVICE):  # type: ignore[no-untyped-def]
    model, _, version = reference.partition("/")
    return taken(name, service, ModelIdentity(name=model, version=version, weights_sha256=digest(reference)), None, NOW)


async def begun(log: FakeEventLog) -> None:
    """Until a worker has said what it uses."""
    async for record in log.read(topics.MODELS.name, follow=True):
        acts = Acts()
        acts.see(record)
        if acts.workers:
            return


async def test_it_is_taken(log: FakeEventLog) -> None:
    async with worker(log, Packages.of(OWN, "nodules/2")):
        await begun(log)
        assert await promote(log, "nodules/2") == (True, ["analyse-here uses nodules/2."])
        assert await promote(log, "nodules/2") == (True, ["analyse-here uses nodules/2."])
        assert await promote(log, OWN) == (True, [f"analyse-here uses {OWN}."])


async def test_it_is_not_taken(log: FakeEventLog) -> None:
    packages = Packages.of(OWN)
    packages.there["nodules/2"] = ModelFailed("load", "nodules/2", "it is damaged")
    async with worker(log, packages):
        await begun(log)
        well, (line,) = await promote(log, "nodules/2")
        assert not well
        assert f"goes on with {OWN}" in line and "it is damaged" in line


async def test_a_worker_that_says_nothing_is_named(log: FakeEventLog) -> None:
    await log.append([uses(OWN)])
    async with worker(log, Packages.of(OWN, "nodules/2")):
        well, said = await promote(log, "nodules/2", wait_s=2)
    assert not well
    assert said[0] == "analyse-here uses nodules/2."
    assert said[1].startswith("analyse-there has not taken it within 2 s")


async def test_a_worker_of_another_service_is_not_waited_for(log: FakeEventLog) -> None:
    await log.append([uses("devices/1", service="devices")])
    assert await promote(log, "nodules/2") == (True, ["No worker runs now: it is taken when one starts."])


@pytest.mark.parametrize("alive", [True, False])
async def test_a_worker_of_this_machine_whose_process_is_gone_is_not_waited_for(log: FakeEventLog, alive: bool) -> None:
    await log.append([uses(OWN, instance_of("analyse"))])
    gone = subprocess.Popen(["true"])
    gone.wait()
    health = RoleHealth("work-analyse", os.getpid() if alive else gone.pid, "ready")
    well, (line,) = await promote(log, "nodules/2", 0.3, {"work-analyse": health})
    assert well is not alive
    assert ("has not taken it" if alive else "No worker runs now") in line


async def test_a_worker_of_this_machine_without_a_health_file_is_not_waited_for(log: FakeEventLog) -> None:
    """It was killed, and its run folder was emptied since."""
    await log.append([uses(OWN, instance_of("analyse"))])
    assert await promote(log, "nodules/2", 0.3) == (True, ["No worker runs now: it is taken when one starts."])


async def test_of_another_machine_nothing_is_known_by_the_health_files_of_this_one(log: FakeEventLog) -> None:
    await log.append([uses(OWN, "analyse-there")])
    well, (line,) = await promote(log, "nodules/2", 0.3)
    assert not well
    assert line.startswith("analyse-there has not taken it")


async def test_a_later_promotion_answers_for_this_one(log: FakeEventLog) -> None:
    packages = Packages.of(OWN, "nodules/2", "nodules/3")
    async with worker(log, packages):
        await begun(log)
        packages.gate.clear()
        first = asyncio.create_task(promote(log, "nodules/2"))
        while not packages.under_way:
            await asyncio.sleep(0)
        second = asyncio.create_task(promote(log, "nodules/3"))
        await asyncio.sleep(0.01)
        packages.gate.set()
        assert (await first)[0] and (await second)[0]


async def test_a_name_keeps_its_service(log: FakeEventLog) -> None:
    event = promotion(model("nodules/2").identity, "chest", approved_by="Dr A", reason="why", at=NOW)
    await log.append(told(event, "nodules"))
    acts = await read_acts(log)
    keeps_its_service(acts, "nodules/3", "chest")
    keeps_its_service(acts, "devices/1", "devices")
    with pytest.raises(SettingsInvalid, match="nodules was promoted for chest"):
        keeps_its_service(acts, "nodules/3", "devices")


# --------------------------------------------------------------------------------------------- before anything is written


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    shutil.copytree(PACKAGES / "chest-nodule" / "1", folder / "chest-nodule" / "1")
    shutil.copytree(PACKAGES / "chest-gate" / "1", folder / "chest-gate" / "1")

    def changed(version: str, *replacements: tuple[str, str]) -> Path:
        made = folder / "chest-nodule" / version
        shutil.copytree(PACKAGES / "chest-nodule" / "1", made)
        card = (made / "card.toml").read_text().replace('version = "1"', f'version = "{version}"')
        for old, new in replacements:
            assert old in card
            card = card.replace(old, new)
        (made / "card.toml").write_text(card)
        return made

    weights = changed("damaged") / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    changed("fixture", ("architecture =", "test_fixture = true\narchitecture ="))
    changed("devices", ("architecture =", 'service = "devices"\narchitecture ='))
    return folder


def settings(packages: Path) -> Settings:
    # nobody listens there: what is refused is refused before anything is written
    return Settings(models={"url": str(packages), "use": ("chest-nodule/1",)}, kafka={"bootstrap": "127.0.0.1:1"})


@pytest.mark.parametrize(
    ("reference", "error", "said"),
    [
        ("chest-nodule/7", SettingsInvalid, "there are chest-gate/1, chest-nodule/1, chest-nodule/damaged"),
        ("chest-nodule/damaged", ModelFailed, "SHA-256"),
        ("chest-nodule/fixture", SettingsInvalid, "fixture of tests"),
        ("chest-nodule/devices", SettingsInvalid, "add chest-nodule/devices to RADSTREAM_MODELS__USE"),
        ("chest-gate/1", SettingsInvalid, "is a gate"),
    ],
)
async def test_what_may_not_be_promoted(packages: Path, reference: str, error: type[Exception], said: str) -> None:
    name, _, version = reference.partition("/")
    with pytest.raises(error, match=said):
        await run_promote(
            settings(packages), name, version, approved_by="Dr A", reason="why", wait_s=None, say=lambda line: pytest.fail(line)
        )


@pytest.mark.parametrize(("approved_by", "reason"), [("", "why"), ("Dr A", " "), ("x" * 201, "why"), ("Dr A", "x" * 1001)])
async def test_who_and_why_are_said(packages: Path, approved_by: str, reason: str) -> None:
    with pytest.raises(SettingsInvalid, match="--approved-by"):
        await run_promote(settings(packages), "chest-nodule", "1", approved_by=approved_by, reason=reason, wait_s=None, say=print)


async def test_verify(packages: Path) -> None:
    said: list[str] = []
    for named in ("chest-nodule/1", str(packages / "chest-nodule" / "1"), "chest-gate/1"):
        await run_verify(settings(packages), named, said.append)
    assert said[0].startswith("chest-nodule/1 is well: speaks for chest-radiograph-findings; its self-test answers within ")
    assert said[1] == said[0]
    assert said[2].startswith("chest-gate/1 is well: a gate;")
    with pytest.raises(ModelFailed):
        verified(packages / "chest-nodule" / "damaged", settings(packages))
    with pytest.raises(SettingsInvalid, match="neither"):
        await run_verify(settings(packages), "Chest Nodule", said.append)


def test_what_is_promoted_is_what_a_worker_would_load(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hasten(network: TorchNetwork) -> bool:
        raise ModelFailed("load", "network", "it cannot be compiled")

    monkeypatch.setattr(TorchNetwork, "hasten", hasten)
    terms = settings(packages)
    verified(packages / "chest-nodule" / "1", terms)
    fast = terms.model_copy(update={"models": terms.models.model_copy(update={"fast": True})})
    with pytest.raises(ModelFailed, match="it cannot be compiled"):
        verified(packages / "chest-nodule" / "1", fast)


def test_the_commands_say_what_they_need() -> None:
    for command in ("list", "promote", "verify"):
        result = CliRunner().invoke(app, ["model", command, "--help"])
        assert result.exit_code == 0
    assert CliRunner().invoke(app, ["model", "promote", "chest-nodule", "1"]).exit_code == 2, "nobody answers for it"


async def test_what_was_recalled_is_not_promoted_again(log: FakeEventLog) -> None:
    event = recall("nodules", "2", approved_by="Dr B", reason="it misses what lies behind the heart", at=NOW)
    await log.append(told(event, recall_key(event)))
    acts = await read_acts(log)
    was_not_recalled(acts, "nodules/3")
    with pytest.raises(SettingsInvalid, match="was recalled by Dr B because it misses .*: a mended package needs another version"):
        was_not_recalled(acts, "nodules/2")

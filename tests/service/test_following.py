"""Workers follow promotions on a real Kafka: also one that goes away meanwhile, and comes back."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from rich.console import Console

from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, ensure_topics
from schemas.errors import BrokerUnavailable, ModelFailed
from schemas.ports import Record
from streams import topics
from streams.promotion.acts import promotion, told
from streams.promotion.listing import run_list
from streams.promotion.promoting import read_acts, taken_by_all
from streams.services import LocalServices
from streams.settings import Settings
from tests.service.away import away
from tests.unit.packages import CLOCK, OWN, Packages, digest, model, promote, recall, said, worker

pytestmark = pytest.mark.service

PACKAGES = Path(__file__).parents[2] / "models" / "packages"


def ensure(bootstrap: str) -> None:
    ensure_topics(bootstrap, [TopicSpec(one.name, one.partitions, one.config) for one in (topics.MODELS, topics.AUDIT)])


@pytest.fixture
async def log(kafka_bootstrap: str) -> AsyncIterator[KafkaLog]:
    await asyncio.to_thread(ensure, kafka_bootstrap)
    async with KafkaLog(kafka_bootstrap) as log:
        yield log


@pytest.fixture
def service() -> str:
    """Other tests write on the topic too."""
    return f"service-{uuid4().hex}"


async def until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


async def records(log: KafkaLog) -> list[Record]:
    return [record async for record in log.read(topics.MODELS.name)]


async def test_promotions_a_broken_one_and_a_restart(log: KafkaLog, service: str) -> None:
    packages = Packages.of(OWN, "nodules/2", "nodules/3", service=service)
    packages.there["nodules/4"] = ModelFailed("load", "nodules/4", "it is damaged")
    async with worker(log, packages, service) as here:
        assert here.uses == OWN
        for reference in ("nodules/2", "nodules/3"):
            await promote(log, reference, service=service)
            await until(lambda: here.uses == reference)  # noqa: B023 - awaited here
        await promote(log, "nodules/4", service=service)
        await until(lambda: "damaged" in here.health.reason)
        assert here.uses == "nodules/3"
        await promote(log, "nodules/2", service=service)
        await until(lambda: here.uses == "nodules/2" and not here.health.reason)
        in_use = (await read_acts(log)).workers[f"worker.analyse-here.{service}"].event
        assert (f"{in_use.name}/{in_use.version}", in_use.well) == ("nodules/2", True)
    assert f"worker.analyse-here.{service}" not in (await read_acts(log)).workers
    assert (OWN, False) not in said(await records(log), service)
    assert ("nodules/3", False) in said(await records(log), service)
    async with worker(log, packages, service) as again:
        assert again.uses == "nodules/2"


async def test_whoever_promotes_sees_that_it_was_taken(log: KafkaLog, service: str) -> None:
    packages = Packages.of(OWN, "nodules/2", service=service)
    async with worker(log, packages, service) as here:
        await until_said(log, service)
        event = promotion(model("nodules/2").identity, service, approved_by="Dr A", reason="why", at=CLOCK.now())
        place, audited = await log.append(told(event, "nodules"))
        lines: list[str] = []
        assert await taken_by_all(log, event, place, 30, lines.append, {})
        assert lines == ["analyse-here uses nodules/2."]
        assert here.uses == "nodules/2"
    audit = {record.place: record async for record in log.read(topics.AUDIT.name)}
    assert json.loads(audit[audited].value)["approved_by"] == "Dr A"


async def until_said(log: KafkaLog, service: str) -> None:
    async with asyncio.timeout(30):
        while not said(await records(log), service):
            await asyncio.sleep(0.05)


async def test_a_broker_that_goes_away_disturbs_nothing_and_is_followed_when_it_is_back(
    broker: LocalServices, service: str
) -> None:
    await asyncio.to_thread(ensure, broker.kafka_bootstrap)
    packages = Packages.of(OWN, "nodules/2", "nodules/3", service=service)
    async with KafkaLog(broker.kafka_bootstrap) as log, worker(log, packages, service) as here:
        await until_said(log, service)
        with structlog.testing.capture_logs() as logs:
            async with away(broker, "kafka", kill=False):
                await until(lambda: any(line["event"] == "promotions cannot be followed now" for line in logs))
                async with here.models.lease() as in_use:
                    assert in_use.reference == OWN
                assert here.health.state == "ready"
                with pytest.raises(BrokerUnavailable):
                    await promote(log, "nodules/2", service=service)
        async with asyncio.timeout(60):
            while True:
                try:
                    await promote(log, "nodules/3", service=service)
                    break
                except BrokerUnavailable:
                    await asyncio.sleep(0.1)  # the log connects again by itself
        await until(lambda: here.uses == "nodules/3")


async def test_list(log: KafkaLog, kafka_bootstrap: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a real package, a damaged copy of it and the gate; its service is that of a test."""
    service = f"a-{uuid4().hex}"
    for name, version in (("chest-nodule", "1"), ("chest-nodule", "2"), ("chest-gate", "1")):
        shutil.copytree(PACKAGES / name / "1", tmp_path / name / version)
    for version in ("1", "2"):
        file = tmp_path / "chest-nodule" / version / "card.toml"
        card = file.read_text().replace('version = "1"', f'version = "{version}"')
        file.write_text(card.replace("architecture =", f'service = "{service}"\narchitecture ='))
    (tmp_path / "chest-nodule" / "2" / "weights.safetensors").write_bytes(b"x")
    settings = Settings(kafka={"bootstrap": kafka_bootstrap}, models={"url": str(tmp_path), "use": ("chest-nodule/1",)})

    async def listed() -> dict[str, list[dict[str, object]]]:
        capsys.readouterr()
        await run_list(settings, Console(), as_json=True)
        found: dict[str, list[dict[str, object]]] = json.loads(capsys.readouterr().out)
        return found

    found = await listed()
    packages = {(one["name"], one["version"]): one for one in found["packages"]}
    assert [key for key, one in packages.items() if one["well"]] == [("chest-gate", "1"), ("chest-nodule", "1")]
    assert "SHA-256" in str(packages["chest-nodule", "2"]["reason"])
    assert packages["chest-gate", "1"]["kind"] == "gate"
    (mine,) = [one for one in found["in_use"] if one["service"] == service]
    assert (mine["version"], mine["since"]) == ("1", None)

    name = f"nodules-{uuid4().hex[:8]}"  # what is recalled is recalled for other tests too
    await promote(log, f"{name}/7", service=service, weights=digest("nodules/7"))
    (mine,) = [one for one in (await listed())["in_use"] if one["service"] == service]
    assert (mine["name"], mine["version"], mine["approved_by"], mine["reason"]) == (name, "7", "Dr A", "better")
    assert mine["since"] and not mine["recalled"]

    await recall(log, f"{name}/7")
    found = await listed()
    assert [one["recalled"] for one in found["in_use"] if one["service"] == service] == [True]
    (told,) = [one for one in found["recalled"] if one["name"] == name]
    assert (told["version"], told["approved_by"], told["reason"]) == ("7", "Dr B", "it misses")

    await run_list(settings, Console(width=300), as_json=False)
    out = capsys.readouterr().out
    assert f"{name}/7 (recalled" in out and "it misses" in out and "Dr A" in out and "no: weights.safetensors" in out

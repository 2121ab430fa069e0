"""A model is recalled on a real Kafka and a real FHIR server: what it said is withdrawn there, what it says later too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.promotion.recalling import Decision, run_recall
from streams.services import LocalServices
from tests.service.answering_engine import PATIENCE_S, Engine, running_engine
from tests.unit.analyses import using
from tests.unit.packages import OWN, Packages, model, promote, worker

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]

RECALLED = "nodules/2"


@pytest.fixture
async def engine(kafka_apart: LocalServices, fhir_url: str, tmp_path: Path) -> AsyncIterator[Engine]:
    async with running_engine(kafka_apart.kafka_bootstrap, fhir_url, tmp_path) as engine:
        yield engine


async def test_what_it_said_is_withdrawn_and_what_it_says_later_too(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    packages = Packages.of(OWN, RECALLED)
    await promote(engine.log, RECALLED)
    async with worker(engine.log, packages) as here, engine.analysing(here.models):
        before, accession = await engine.ordered()
        assert (await engine.delivered(before, 16, accession))["status"] == "partial"
        assert await recall(engine, None) == ["1 answer of nodules/2 stands."]

        said = await recall(engine, Decision("Dr B", "it misses what lies behind the heart"))
        assert any(line.startswith("For chest-radiograph-findings chest-nodule/2 speaks") for line in said)
        assert said[-1].startswith("Nothing stands any more: 1 withdrawn.")
        withdrawn = await engine.delivered(before, 18, accession)
        assert withdrawn["status"] == "cancelled"
        assert "recalled" in withdrawn["conclusion"] and "behind the heart" not in json.dumps(withdrawn)

        async with asyncio.timeout(PATIENCE_S):
            while not (here.models.speaks and here.uses == OWN):  # the one of its settings
                await asyncio.sleep(0.05)
        later, number = await engine.ordered()
        assert (await engine.delivered(later, 16, number))["status"] == "partial"
        assert (await engine.result(later, 16)).model == model(OWN).identity

    async with engine.analysing(using(model(RECALLED))):  # one that has not heard of it
        deaf, number = await engine.ordered()
        assert (await engine.result(deaf, 16)).model == model(RECALLED).identity
        assert (await engine.delivered(deaf, 18, number))["status"] == "cancelled"

    capsys.readouterr()
    await run_recall(engine.settings, "nodules", "2", None, as_json=True, wait_s=1, say=print)
    assert json.loads(capsys.readouterr().out) == {"name": "nodules", "version": "2", "stand": 0, "answers": []}
    said = await recall(engine, Decision("Dr C", "once more"))
    assert said[1] == "nodules/2 was recalled already, by Dr B because it misses what lies behind the heart."
    assert said[-1] == "Nothing stands."


async def recall(engine: Engine, decision: Decision | None) -> list[str]:
    """What the command says, but for the studies it names."""
    lines: list[str] = []
    assert await run_recall(engine.settings, "nodules", "2", decision, as_json=False, wait_s=60, say=lines.append)
    return [line for line in lines if " finding(s) " not in line]

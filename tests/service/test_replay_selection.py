"""A log on a real Kafka, written by the real steps: what is selected is exactly what belongs to it, by the command too."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from schemas.ports import Place
from streams.replay.dry_run import plan_of
from streams.replay.plan import Plan, expanded
from streams.replay.planning import planned
from streams.replay.selection import Selection
from streams.services import LocalServices
from streams.settings import DatabaseSettings, KafkaSettings, Settings, as_environment
from streams.wiring.clients import case_store_for, history_for, log_for
from tests.unit.past import Past, completed, merge_message, order_message

#: of what no case owns
_SHARED = "radstream.models"


@pytest.fixture
def settings(broker: LocalServices, tmp_path: Path) -> Settings:
    return Settings(
        run_folder=tmp_path / "run",
        kafka=KafkaSettings(bootstrap=broker.kafka_bootstrap),
        database=DatabaseSettings(url=f"sqlite:///{tmp_path / 'cases.db'}"),
    )


@pytest.fixture
async def past(settings: Settings) -> AsyncIterator[Past]:
    cases = case_store_for(settings)
    async with log_for(settings) as log:
        yield Past(log, cases, cases, lambda place: datetime.now(UTC))
    await cases.close()


def places(plan: Plan) -> set[Place]:
    return {place for place in expanded(plan.spans) if place.topic != _SHARED}


async def dry_run(settings: Settings, *arguments: str) -> dict[str, Any]:
    """`radstream replay ... --json`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RADSTREAM_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "streams", "replay", *arguments, "--json"),
        stdout=asyncio.subprocess.PIPE,
        env={**environment, **as_environment(settings)},
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    told: dict[str, Any] = json.loads(out)
    return told


async def test_selected_on_kafka(past: Past, settings: Settings) -> None:
    run = uuid4().int % 10**12
    mine, merged, stranger, uid = f"A{run}", f"{run}1", f"{run}2", f"1.2.{run}"
    before = datetime.now(UTC) - timedelta(seconds=1)
    ours = {await past.message(order_message(f"P{run}", "", merged))}
    other = {await past.message(order_message(f"Q{run}", f"B{run}", stranger))}
    ours.add(await past.message(order_message(f"P{run}", mine, merged, control=f"C{run}")))
    ours.add(await past.message(merge_message(f"{run}3", merged)))
    other.add(await past.completed(completed(f"{uid}.2", f"B{run}", stranger)))
    ours.add(await past.completed(completed(f"{uid}.1", mine, merged)))

    by_case = Selection(accession_numbers=(mine,))
    plan = await plan_of(settings, by_case)
    assert places(plan) == ours
    assert plan.studies == (f"{uid}.1",)
    history = history_for(settings)
    assert places(await planned(by_case, history)) == ours, "without the projection"
    assert places(await plan_of(settings, Selection(patients=(stranger,)))) == other

    read = [record async for record in plan.inputs(history)]
    assert [one.timestamp for one in read] == sorted(one.timestamp for one in read)
    assert {one.place for one in read if one.place.topic != _SHARED} == ours

    told = await dry_run(settings, "--accession", mine)
    assert (told["records"], told["studies"], told["sha256"]) == (plan.records, 1, plan.sha256)

    of_this_test = await plan_of(settings, Selection(since=before, start_at="normalise"))
    assert places(of_this_test) == ours | other
    requests = await plan_of(settings, Selection(since=before))
    assert requests.studies == (f"{uid}.1", f"{uid}.2")
    assert requests.seconds_per_analysis is not None
    assert [record async for record in requests.inputs(history)] == [record async for record in requests.inputs(history)]

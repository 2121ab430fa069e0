"""A discrepancy on a real Kafka: a web server is told that it was escalated, and a person acknowledges it."""

from __future__ import annotations

import asyncio
import json
from io import StringIO
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest
from rich.console import Console

from connectors.kafka import KafkaLog
from schemas.discrepancies import DiscrepancyEscalated, DiscrepancyEvent, DiscrepancyOpened, DiscrepancyWithdrawn
from schemas.identifiers import identity
from streams import topics
from streams.acknowledging import run_acknowledge, run_list
from streams.health import Health, Shared
from streams.services import LocalServices
from streams.settings import Settings
from streams.wiring.destinations import warn
from tests.contract.webhook_server import SECRET, webhook_server
from tests.unit.discrepancies import event, outgoing

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]


async def test_it_is_escalated_and_acknowledged(broker: LocalServices, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    with webhook_server() as server:
        settings = Settings(
            run_folder=tmp_path / "run",
            kafka={"bootstrap": broker.kafka_bootstrap},
            database={"url": f"sqlite:///{tmp_path / 'radstream.db'}"},
            destinations={"webhook": [{"name": "pager", "url": server.url, "secret_file": tmp_path / "secret"}]},
            discrepancies={"receiver": "pager"},
        )
        opened, escalated = unique(event(DiscrepancyOpened)), unique(event(DiscrepancyEscalated))
        discrepancy = opened.discrepancy_id
        last = escalated.model_copy(update={"id": uuid4(), "discrepancy_id": uuid4()})  # of the same study: read after them
        gone = unique(event(DiscrepancyWithdrawn)).model_copy(update={"discrepancy_id": last.discrepancy_id})
        other = unique(event(DiscrepancyWithdrawn, 2))  # which was never escalated
        stop = asyncio.Event()
        warning = asyncio.create_task(warn(settings, stop, Shared(Health(tmp_path / "run", "deliver")).part("warn:discrepancies")))
        async with KafkaLog(broker.kafka_bootstrap) as log:
            await log.append(
                [outgoing(opened), outgoing(escalated), outgoing(escalated), outgoing(other), outgoing(last), outgoing(gone)]
            )
        await asyncio.to_thread(server.wait_for, lambda told: str(gone.id) in told.taken)
        assert server.repeated == 1
        assert json.loads(server.taken[str(escalated.id)].body) == json.loads(escalated.model_dump_json())
        assert server.taken.keys().isdisjoint({str(opened.id), str(other.id)})
        stop.set()
        await warning

        async def listed(*, all_states: bool = False) -> list[dict[str, object]]:
            capsys.readouterr()
            await run_list(settings, Console(), all_states=all_states, as_json=True)
            rows = json.loads(capsys.readouterr().out)
            return [row for row in rows if row["id"] == str(discrepancy)]

        assert [row["state"] for row in await listed()] == ["escalated"]
        said = Console(file=StringIO())
        assert await run_acknowledge(settings, str(discrepancy), by="Dr A", reason="addendum written", say=said)
        assert await listed() == []
        (row,) = await listed(all_states=True)
        assert (row["state"], row["acknowledged_by"], row["reason"]) == ("acknowledged", "Dr A", "addendum written")
        assert not await run_acknowledge(settings, str(uuid4()), by="Dr A", reason="seen", say=said)
    async with KafkaLog(broker.kafka_bootstrap) as log:
        audited = [record.key async for record in log.read(topics.AUDIT.name)]
    assert f"discrepancy.{discrepancy}".encode() in audited


RUN = str(uuid4())
E = TypeVar("E", bound=DiscrepancyEvent)


def unique(of: E) -> E:
    """Other tests write on the topic too."""
    ids = {"id": identity(RUN, str(of.id)), "discrepancy_id": identity(RUN, str(of.discrepancy_id))}
    return of.model_copy(update=ids)

"""The process `deliver`, killed while a RIS and a web server misbehave: both end with every study once, in its last state."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest

from connectors.kafka import KafkaLog
from schemas.events import DeliveryAcknowledged
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, NotAnalysedReason
from schemas.ports import Outgoing
from streams.destination_settings import DestinationSettings, FhirSettings, OruDestination, WebhookDestination
from streams.services import LocalServices
from streams.settings import DatabaseSettings, KafkaSettings, Settings, as_environment
from streams.topics import DELIVERIES, RESULTS
from streams.unbroken import unbroken
from tests.contract.oru_ris import Ris, RisServer, accept, acknowledgement, ris_server
from tests.contract.reporting_system import Study, sequence_at
from tests.contract.webhook_server import SECRET, Request, WebhookServer, webhook_server
from tests.service.positions import begun

pytestmark = [pytest.mark.service, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
STUDIES = 6


class Misbehaving:
    """What a RIS does with one message after the other, in turns; whatever it answers, it may have filed what came."""

    def __init__(self) -> None:
        self.came = 0
        self._news = asyncio.Condition()

    async def __call__(self, ris: Ris, data: bytes) -> bytes | None:
        self.came += 1
        async with self._news:
            self._news.notify_all()
        match self.came % 9:
            case 2:
                return acknowledgement("AE", ris.take(data))
            case 4:
                ris.take(data)
                return None
            case 6:
                return acknowledgement("AA", ris.take(data) + "9")
            case 8:
                return None
        return await accept(ris, data)

    async def has_seen(self, messages: int) -> None:
        async with asyncio.timeout(90), self._news:
            await self._news.wait_for(lambda: self.came >= messages)


def every_fourth() -> Callable[[Request], str | int | None]:
    """Posts that the web server closes the connection at, or fails on."""
    came = 0

    def fault(request: Request) -> str | int | None:
        nonlocal came
        came += request.method == "POST"
        if request.method != "POST":
            return None
        return "close" if came % 8 == 1 else 503 if came % 8 == 5 else None

    return fault


@pytest.fixture
async def ris() -> AsyncIterator[RisServer]:
    async with ris_server(Misbehaving()) as server:
        yield server


@pytest.fixture
def web() -> Iterator[WebhookServer]:
    with webhook_server() as server:
        server.fault = every_fourth()
        yield server


class Deliver:
    """The process."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._environment = {**os.environ, **as_environment(settings), "PYTHONPATH": str(ROOT)}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "deliver.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streams.role", "deliver"],
                cwd=self._folder, env=self._environment, stdout=output, stderr=output,
            )  # fmt: skip

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def states_of(number: int, study: Study) -> tuple[Findings, ...]:
    """In the end found, absent or withdrawn."""
    withdrawn = study.not_analysed(16, NotAnalysedReason.ORDER_CANCELLED)
    ends = (study.found(16), study.absent(16), withdrawn)
    return study.found(4), study.not_analysed(7, NotAnalysedReason.LATE), study.found(8), ends[number % 3]


async def test_killed_twice_in_mid_delivery_every_receiver_ends_in_the_last_state(
    broker: LocalServices, ris: RisServer, web: WebhookServer, tmp_path: Path
) -> None:
    mark = uuid4().hex[:8]
    (tmp_path / "secret").write_text(SECRET)
    settings = Settings(
        run_folder=tmp_path / "run",
        kafka=KafkaSettings(bootstrap=broker.kafka_bootstrap),
        fhir=FhirSettings(url="http://127.0.0.1:9/fhir"),
        database=DatabaseSettings(url=f"sqlite:///{tmp_path}/cases.db"),
        destinations=DestinationSettings(
            oru=(OruDestination(name=f"ris-{mark}", address=f"127.0.0.1:{ris.port}", timeout_s=1),),
            webhook=(WebhookDestination(name=f"web-{mark}", url=web.url, secret_file=tmp_path / "secret"),),
        ),
    )
    names = settings.destinations.names[1:]
    studies = [Study() for _ in range(STUDIES)]
    states = {study: states_of(number, study) for number, study in enumerate(studies)}
    behaving = ris.answer
    assert isinstance(behaving, Misbehaving)
    role = Deliver(settings, tmp_path)
    try:
        role.start()
        async with KafkaLog(broker.kafka_bootstrap) as log:
            for name in names:
                await begun(broker.kafka_bootstrap, f"deliver.{name}", RESULTS.partitions)
            await log.append(
                [
                    Outgoing(RESULTS.name, study.uid.encode("ascii"), states[study][which].model_dump_json().encode("utf-8"))
                    for which in range(4)
                    for study in studies
                ]
            )
            for messages in (STUDIES, 3 * STUDIES):
                await behaving.has_seen(messages)
                role.kill()
                role.start()
            await acknowledged(log, {(name, study.uid) for name in names for study in studies})
    finally:
        role.kill()
    for study, of in states.items():
        last = of[-1]
        assert web.held[study.uid, CHEST_RADIOGRAPH_FINDINGS] == last
        (filed,) = [one for one in ris.ris.reports.values() if one.value("113014") == study.uid]
        if last.not_analysed is None:
            assert sequence_at(datetime.strptime(filed.at, "%Y%m%d%H%M%S.%f%z")) == 16
        assert bool(filed.results()) is (last.not_analysed is None)


async def acknowledged(log: KafkaLog, waiting: set[tuple[str, str]]) -> None:
    """Each of these places and studies has acknowledged the state 16."""
    async with asyncio.timeout(120):
        async for record in unbroken(log, DELIVERIES.name):
            event = DeliveryAcknowledged.model_validate_json(record.value)
            if (event.sequence, event.outcome) == (16, "stored"):
                waiting.discard((event.destination, event.study_instance_uid))
            if not waiting:
                return

"""One engine for all end-to-end tests of a run: real services, every role its own process, the FHIR server behind a proxy
that can be told to fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from connectors.dicomweb import DicomWebArchive
from connectors.fhir import FhirServer
from connectors.kafka import KafkaLog
from connectors.mllp.client import MllpClient, MllpReceiverUnavailable
from schemas.ports import Record
from streams import topics
from streams.demo.orders import order_for
from streams.local_engine import LocalEngine, local_engine, settings_for
from streams.services import LocalServices
from streams.services.probes import free_ports
from streams.unbroken import unbroken
from streams.wiring.clients import archive_for, fhir_server_for
from tests.service.fault_proxy import Fault, FaultProxy, fault_proxy

ORDER_WAIT_S = 4.0
#: the films are of 2004
AGE_LIMIT_DAYS = 20_000
WEBHOOK_TOKEN = "a-token-of-the-tests"


@dataclass
class Hospital:
    """A HIS, a modality and a reporting system around the engine, and everything that was written on the log."""

    engine: LocalEngine
    log: KafkaLog
    mllp: MllpClient
    archive: DicomWebArchive
    fhir: FhirServer
    proxy: FaultProxy
    records: list[Record] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _on: dict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))
    _sent: int = 0

    async def order(
        self, accession: str | None, *, placer: str | None = None, patient: str = "P-1", control_id: str | None = None, **more: Any
    ) -> bytes:
        """Sends an order over MLLP and returns the message once it is acknowledged."""
        self._sent += 1
        message = order_for(
            accession,
            placer=placer,
            patient=patient,
            assigner=self.engine.settings.site.default_assigner,
            at=more.pop("at", datetime.now(UTC)),
            control_id=control_id or f"E2E{self._sent:06d}",
            **more,
        )
        await self.send(message)
        return message

    async def send(self, message: bytes, timeout_s: float = 60) -> None:
        """As a HIS does: the same bytes again until they are acknowledged positively."""
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(MllpReceiverUnavailable):
                    if (await self.mllp.send(message)).accepted:
                        return
                await asyncio.sleep(0.2)  # a listener that is being started again gives no event

    async def until(self, what: str, condition: Callable[[list[Record]], Any], timeout_s: float = 60) -> Any:
        """The first truthy answer of `condition` over all records so far. Fails naming `what`."""
        try:
            async with asyncio.timeout(timeout_s), self.news:
                return await self.news.wait_for(lambda: condition(self.records))
        except TimeoutError:
            counts: dict[str, int] = {}
            for record in self.records:
                counts[record.place.topic] = counts.get(record.place.topic, 0) + 1
            pytest.fail(f"not within {timeout_s:.0f} s: {what}; on the log: {counts}; logs in {self.engine.settings.run_folder}")

    def of(self, topic: topics.Topic, study: str | None = None) -> list[Record]:
        """Records of a topic so far, of one study when named (its key, or its place in the value of a delivery)."""
        found = self._on[topic.name]
        if study is None:
            return list(found)
        return [record for record in found if record.key == study.encode() or study.encode() in record.value]

    async def delivered(self, study: str, sequence: int = 1, timeout_s: float = 60) -> dict[str, Any]:
        """The delivery of at least that state of the study, once what it came from is among `records` too: each topic is read
        by itself, and the last may be ahead."""

        def there(_: list[Record]) -> dict[str, Any] | None:
            for record in reversed(self.of(topics.DELIVERIES, study)):
                value: dict[str, Any] = json.loads(record.value)
                if value["study_instance_uid"] == study and value["sequence"] >= sequence:
                    analysis = value["analysis_id"].encode()
                    before = (topics.RESULTS, topics.FINDINGS)
                    return value if all(any(analysis in one.value for one in self.of(of, study)) for of in before) else None
            return None

        found: dict[str, Any] = await self.until(f"state {sequence} of study {study} delivered", there, timeout_s)
        return found

    async def report(self, accession: str) -> dict[str, Any]:
        """The one DiagnosticReport of an accession number. Fails when there are none or several."""
        found = [r for r in await self.fhir.search_reports(accession) if r["resourceType"] == "DiagnosticReport"]
        assert len(found) == 1, f"{len(found)} DiagnosticReports for {accession}"
        return found[0]

    @contextmanager
    def fhir_server_in_trouble(self, fault: Fault) -> Iterator[None]:
        """The engine's way to the FHIR server fails like this inside the block; the tests' own way does not."""
        self.proxy.fault = fault
        try:
            yield
        finally:
            self.proxy.fault = None

    async def asked(self, times: int, timeout_s: float = 60) -> None:
        """Returns when the engine has put that many questions to the FHIR server since now."""
        await self.proxy.reached(times, timeout_s=timeout_s)

    async def _follow(self, topic: str) -> None:
        async for record in unbroken(self.log, topic):
            async with self.news:
                self.records.append(record)
                self._on[topic].append(record)
                self.news.notify_all()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hospital(
    services: LocalServices, kafka_bootstrap: str, orthanc_url: str, fhir_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Hospital]:
    """Ready when every role is."""
    del kafka_bootstrap, orthanc_url, fhir_url  # they start the services
    folder = tmp_path_factory.mktemp("engine")
    async with AsyncExitStack() as stack:
        proxy = stack.enter_context(fault_proxy(services.fhir_url))
        token_file = folder / "webhook-token"
        token_file.write_text(WEBHOOK_TOKEN)
        webhook_port, dicom_port = free_ports(2)
        settings = settings_for(
            services,
            folder,
            webhook={"port": webhook_port, "token_file": token_file},
            dicom={"port": dicom_port},
            fhir={"url": proxy.url, "timeout_s": 5},
            correlation={"order_wait_s": ORDER_WAIT_S},
            news={"age_limit_days": AGE_LIMIT_DAYS},
            archive={"list_interval_s": 1, "list_days": 36_500},  # the films are old ones
        )
        engine = await stack.enter_async_context(local_engine(services, settings))
        log = await stack.enter_async_context(KafkaLog(services.kafka_bootstrap))
        mllp = await stack.enter_async_context(MllpClient(settings.mllp.host, settings.mllp.port))
        direct = settings.model_copy(update={"fhir": settings.fhir.model_copy(update={"url": services.fhir_url})})
        hospital = Hospital(engine, log, mllp, archive_for(settings), fhir_server_for(direct), proxy)
        followers = [asyncio.create_task(hospital._follow(topic.name)) for topic in topics.ALL]
        yield hospital
        for follower in followers:
            follower.cancel()
        for ended in await asyncio.gather(*followers, return_exceptions=True):
            if isinstance(ended, Exception):  # else tests would have waited in vain, and nobody would know for what
                raise ended

"""Findings out: rendered, delivered, and how soon a receiver can read them.

    .venv/bin/python benchmarks/findings.py            # about 3 minutes
    .venv/bin/python benchmarks/findings.py --quick    # shows that it runs, its figures mean nothing

Rendering: Findings to the Bundle of `ai.findings`, per second of one core's time; beside it, in turns, the same elements written by
fhir.resources itself (the peer), and the same Findings as JSON (the floor). Delivery: new reports to a real FHIR server by our
connector, and by a bare HTTP client that posts the same transactions and looks at nothing, in turns, with as many connections.
Readable: from the record on `ai.results` to the report readable on the FHIR server, through the roles `work report` and `deliver`,
Kafka and all; the floor is one rendering and one bare post with nothing between.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import findings_figures as figures
import requests
from fhir.resources.R4B.bundle import Bundle
from rich.console import Console

from connectors.fhir import FhirServer
from connectors.kafka import KafkaLog
from schemas.errors import RadstreamError
from schemas.events import FINDINGS_TYPE
from schemas.findings import Findings
from schemas.identifiers import AccessionNumber, StudyInstanceUID
from schemas.ports import Outgoing
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.references import Site, report_id
from streams.emission import emit_value
from streams.local_engine import settings_for
from streams.services import ServiceError, ServicePorts, running_services
from streams.settings import Settings, as_environment
from streams.supervisor import Supervisor
from streams.topics import RESULTS
from streams.wiring.clients import ensure_all_topics
from tests.contract.example_findings import subject, two_findings

RATE = 2.0  # studies a second, issue 7
CONNECTIONS = 4
ROLES = ("work report", "deliver")
QUICK = {"rounds": 1, "repeats": 30, "turns": 2, "many": 12, "studies": 10}
WHOLE = {"rounds": 5, "repeats": 300, "turns": 60, "many": 12, "studies": 120}
console = Console(stderr=True, highlight=False, soft_wrap=True)


def said_of_a_study() -> Findings:
    """A nodule and a mass, of a study that nobody has yet."""
    number = uuid4().int
    accession = AccessionNumber(value=f"B{number}", assigner="RIS")
    return two_findings(subject(study=StudyInstanceUID(f"2.25.{number}"), accession=accession))


# ---------------------------------------------------------------------------------------------------------- rendering


def rendering(site: Site, rounds: int, repeats: int) -> dict[str, float]:
    said = said_of_a_study()
    elements = json.loads(bundle_of(said, site))
    contenders: dict[str, Callable[[], object]] = {
        "ours": lambda: bundle_of(said, site),
        "peer": lambda: Bundle.model_validate(elements).model_dump_json(),
        "floor": lambda: said.model_dump_json(),
    }

    def per_second(work: Callable[[], object]) -> float:
        begun = time.process_time()
        for _ in range(repeats):
            work()
        return repeats / max(time.process_time() - begun, 1e-9)

    for work in contenders.values():
        work()
    return figures.rendered([{name: per_second(work) for name, work in contenders.items()} for _ in range(rounds)])


# ----------------------------------------------------------------------------------------------------------- delivery


def transaction_of(bundle: bytes) -> bytes:
    """What our connector posts for a report that is not there yet."""
    entries = []
    for entry in json.loads(bundle)["entry"]:
        resource = entry["resource"]
        request = {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}
        if resource["resourceType"] == "DiagnosticReport":
            request["ifMatch"] = 'W/"0"'
        entries.append({"fullUrl": entry["fullUrl"], "resource": resource, "request": request})
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}, separators=(",", ":")).encode()


class Bare:
    """A client that posts and looks at nothing but the status."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount(url, requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS))

    def post(self, body: bytes) -> None:
        answer = self._session.post(self._url, data=body, headers={"Content-Type": "application/fhir+json"}, timeout=60)
        answer.raise_for_status()

    def post_all(self, bodies: Sequence[bytes]) -> None:
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            list(threads.map(self.post, bodies))

    def holds(self, name: str) -> bool:
        return bool(self._session.get(f"{self._url}/{name}", headers={"Cache-Control": "no-cache"}, timeout=60).status_code == 200)


async def _put_all(server: FhirServer, bundles: Sequence[bytes]) -> None:
    waiting = iter(bundles)

    async def put() -> None:
        for bundle in waiting:
            await server.put(bundle)

    await asyncio.gather(*(put() for _ in range(CONNECTIONS)))


async def delivery(url: str, site: Site, rounds: int, many: int) -> dict[str, float]:
    server, bare, found = FhirServer(url, timeout_s=60, pool_size=CONNECTIONS), Bare(url), []
    await server.put(bundle_of(said_of_a_study(), site))  # the model's Device: a bare client that races for a new one fails
    for number in range(rounds + 1):
        bundles = [bundle_of(said_of_a_study(), site) for _ in range(2 * many)]
        bodies = [transaction_of(bundle) for bundle in bundles[many:]]
        turns: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("ours", partial(_put_all, server, bundles[:many])),
            ("bare", partial(asyncio.to_thread, bare.post_all, bodies)),
        ]
        rate = {}
        for name, turn in turns if number % 2 else reversed(turns):  # neither is always the one that finds the server warmer
            begun = time.perf_counter()
            await turn()
            rate[name] = many / (time.perf_counter() - begun)
        if number:  # the first is for the server to warm up
            found.append(rate)
    console.print(f"delivery: {rounds} turns of {many} each")
    await server.close()
    return figures.delivered(found)


# ----------------------------------------------------------------------------------------------------------- readable


async def readable(settings: Settings, site: Site, studies: int) -> dict[str, Any]:
    bare, warm = Bare(settings.fhir.url), 4

    async def seconds_until_readable(said: Findings, told: float) -> float:
        name = f"DiagnosticReport/{report_id(said.subject.study_instance_uid, site)}"
        while not await asyncio.to_thread(bare.holds, name):
            await asyncio.sleep(0.01)  # a server is asked: there is no event to await
        return time.perf_counter() - told

    environment = as_environment(settings)
    roles = Supervisor(ROLES, settings.run_folder, kill_after_s=settings.runner.kill_after_s, environment=environment)
    async with roles.running(), KafkaLog(settings.kafka.bootstrap) as log, asyncio.timeout(240 + studies / RATE):
        await roles.ready(120)
        asked, begun = [], time.perf_counter()
        for number in range(warm + studies):
            await asyncio.sleep(max(0.0, begun + number / RATE - time.perf_counter()))  # the stated rate
            said = said_of_a_study()
            told = time.perf_counter()
            await log.append([_record(said)])
            asked.append(asyncio.create_task(seconds_until_readable(said, told)))
        seconds = await asyncio.gather(*asked)
    return figures.readable(seconds[warm:], _floor(bare, site))


def _record(said: Findings) -> Outgoing:
    """As `analyse` writes it."""
    value, about = said.model_dump_json().encode(), said.subject
    return emit_value(
        RESULTS, about.study_instance_uid, value, id=said.analysis_id, type=FINDINGS_TYPE, time=about.triggered_at, cause=None
    )


def _floor(bare: Bare, site: Site) -> dict[str, float]:
    parts: dict[str, list[float]] = {"render": [], "post": []}
    for _ in range(10):
        said = said_of_a_study()
        begun = time.perf_counter()
        bundle = bundle_of(said, site)
        rendered = time.perf_counter()
        body = transaction_of(bundle)
        ready = time.perf_counter()
        bare.post(body)
        for name, value in (("render", rendered - begun), ("post", time.perf_counter() - ready)):
            parts[name].append(value)
    return {name: figures.percentile(values, 0.5) for name, values in parts.items()}


async def run(services: Any, folder: Path, *, rounds: int, repeats: int, turns: int, many: int, studies: int) -> dict[str, Any]:
    settings = settings_for(services, folder)
    settings.run_folder.mkdir(parents=True)
    await asyncio.to_thread(ensure_all_topics, settings)
    site = Site(settings.site.default_assigner)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rendering": rendering(site, rounds, repeats),
        "delivery": await delivery(settings.fhir.url, site, turns, many),
        "readable": await readable(settings, site, studies),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 short round")
    parser.add_argument("--out", type=Path, default=Path("var/benchmarks/findings.json"), help="default %(default)s")
    told = parser.parse_args()
    size = QUICK if told.quick else WHOLE
    try:
        with (
            tempfile.TemporaryDirectory(prefix="radstream-findings-") as name,
            running_services(Path(name) / "services", ServicePorts.free(), only=("kafka", "fhir"), tell=console.print) as services,
        ):
            result = asyncio.run(run(services, Path(name), **size))
    except (ServiceError, RadstreamError, TimeoutError) as error:
        console.print(f"[red]{type(error).__name__}[/red]", str(error), markup=True)
        return 1
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(result, indent=1) + "\n")
    Console().print(figures.table(result))
    verdicts = figures.verdicts(result)
    for words, held in verdicts.items():
        Console().print(f"{'holds' if held else 'MISSED'}  {words}")
    Console().print(f"JSON: {told.out}")
    return 0 if told.quick or all(verdicts.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())

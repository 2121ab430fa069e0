"""The study path: from the record on `imaging.studies` to the DiagnosticReport readable on the FHIR server.

    .venv/bin/python benchmarks/study_path.py [--studies 50] [--interval 3]

One study every `interval` seconds through the whole engine, with Kafka, Orthanc and the FHIR server on the same machine.
The floor, in the same run: the same image fetched, decoded, put through the model and its Bundle stored, one after the
other in this process with nothing between (no log, no join, no other process).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from model_here import model_here
from rich.console import Console
from rich.progress import track
from rich.table import Table

from connectors.kafka import KafkaLog
from connectors.mllp.client import MllpClient
from schemas.ports import Record
from schemas.study_events import AnalysisRequested
from streams import topics
from streams.demo.orders import order_for
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.local_engine import LocalEngine, local_engine, settings_for
from streams.services import LocalServices, ServicePorts
from streams.wiring.clients import archive_for, decoder_for, fhir_server_for

STATIONS = (topics.STUDIES, topics.REQUESTS, topics.RESULTS, topics.FINDINGS, topics.DELIVERIES)
STEPS = ("correlate", "analyse", "report", "deliver")
console = Console(stderr=True)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


class Seen:
    """The first time each study was at each station, and when its report was readable."""

    def __init__(self) -> None:
        self.at: dict[tuple[str, str], datetime] = {}
        self.bundles: dict[str, bytes] = {}
        self.requests: dict[str, Record] = {}
        self.readable: dict[str, datetime] = {}
        self.news = asyncio.Condition()

    async def follow(self, log: KafkaLog, topic: str) -> None:
        async for record in log.read(topic, follow=True):
            study = (
                json.loads(record.value)["study_instance_uid"] if topic == topics.DELIVERIES.name else (record.key or b"").decode()
            )
            async with self.news:
                self.at.setdefault((topic, study), record.timestamp)
                if topic == topics.FINDINGS.name:
                    self.bundles[study] = record.value
                if topic == topics.REQUESTS.name:
                    self.requests[study] = record
                self.news.notify_all()

    async def read_back(self, engine: LocalEngine, accession: str, study: str) -> None:
        """Asks the FHIR server from the moment the study is known until its report is there."""
        async with self.news:
            await self.news.wait_for(lambda: (topics.STUDIES.name, study) in self.at)
        server = fhir_server_for(engine.settings)
        while not await server.search_reports(accession):
            await asyncio.sleep(0.05)  # a server is asked: there is no event to await
        self.readable[study] = datetime.now(UTC)


async def floor_of(engine: LocalEngine, seen: Seen, repeats: int) -> dict[str, float]:
    """Medians in seconds of the bare parts."""
    settings = engine.settings
    archive, server, model = archive_for(settings), fhir_server_for(settings), await model_here(settings)
    study, record = next(iter(seen.requests.items()))
    request = AnalysisRequested.model_validate_json(record.value)
    image = request.images[0]
    parts: dict[str, list[float]] = {"fetch": [], "decode": [], "model": [], "store": []}
    with closing(decoder_for(settings)) as decoder:
        for _ in range(repeats + 1):
            begun = time.perf_counter()
            part10 = await archive.instance(request.subject.study_instance_uid, image)
            fetched = time.perf_counter()
            radiograph = await decoder.decode(part10, image.sop_instance_uid)
            decoded = time.perf_counter()
            await model.predict(radiograph)
            predicted = time.perf_counter()
            await server.put(seen.bundles[study])
            stored = time.perf_counter()
            for name, value in zip(
                parts, (fetched - begun, decoded - fetched, predicted - decoded, stored - predicted), strict=True
            ):
                parts[name].append(value)
    await model.close()
    return {name: statistics.median(values[1:]) for name, values in parts.items()}


async def run(studies: int, warm_ups: int, interval: float, folder: Path) -> dict[str, object]:
    services = LocalServices(folder / "services", ServicePorts.free(), attached=True, stable_age_seconds=1, tell=console.print)
    await asyncio.to_thread(services.up)
    try:
        async with (
            local_engine(services, settings_for(services, folder)) as engine,
            KafkaLog(services.kafka_bootstrap) as log,
        ):
            seen = Seen()
            tasks = [asyncio.create_task(seen.follow(log, topic.name)) for topic in STATIONS]
            readers = []
            accessions = [f"BENCH-{number:04d}" for number in range(warm_ups + studies)]
            assigner = engine.settings.site.default_assigner
            begun = time.monotonic()
            async with MllpClient(engine.settings.mllp.host, engine.settings.mllp.port) as mllp:
                for number, accession in enumerate(track(accessions, description="studies", console=console)):
                    await asyncio.sleep(max(0.0, begun + number * interval - time.monotonic()))  # the stated rate
                    order = order_for(accession, patient="BENCH", assigner=assigner, at=datetime.now(UTC), control_id=accession)
                    if not (await mllp.send(order)).accepted:
                        raise SystemExit(f"the order {accession} was not accepted")
                    readers.append(asyncio.create_task(seen.read_back(engine, accession, study_uid_of(accession))))
                    await archive_for(engine.settings).store([copy_of(CHEST, accession_number=accession, patient_id="BENCH")])
            async with asyncio.timeout(120):
                await asyncio.gather(*readers)
                measured = [study_uid_of(accession) for accession in accessions[warm_ups:]]
                async with seen.news:
                    await seen.news.wait_for(lambda: all((topics.DELIVERIES.name, study) in seen.at for study in measured))
            floor = await floor_of(engine, seen, 10)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await asyncio.to_thread(services.down)

    paths = [(seen.readable[study] - seen.at[(topics.STUDIES.name, study)]).total_seconds() for study in measured]
    steps = {
        step: [(seen.at[(b.name, study)] - seen.at[(a.name, study)]).total_seconds() for study in measured]
        for step, a, b in zip(STEPS, STATIONS, STATIONS[1:], strict=False)
    }
    return {
        "studies": studies,
        "interval_s": interval,
        "study_path_s": {"p50": percentile(paths, 0.5), "p95": percentile(paths, 0.95), "max": max(paths)},
        "steps_s": {step: {"p50": percentile(v, 0.5), "p95": percentile(v, 0.95)} for step, v in steps.items()},
        "floor_s": floor,
        "ratio_to_floor": percentile(paths, 0.5) / sum(floor.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--warm-ups", type=int, default=5)
    parser.add_argument("--interval", type=float, default=3.0, help="seconds between two studies")
    parser.add_argument("--json", type=Path, default=Path("var/benchmarks/study_path.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="radstream-benchmark-") as folder:
        result = asyncio.run(run(arguments.studies, arguments.warm_ups, arguments.interval, Path(folder)))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n")

    path, steps, floor = result["study_path_s"], result["steps_s"], result["floor_s"]
    assert isinstance(path, dict) and isinstance(steps, dict) and isinstance(floor, dict)
    whole = sum(step["p50"] for step in steps.values())
    table = Table(
        "part", "p50 s", "p95 s", "share", title=f"study path, {arguments.studies} studies, one every {arguments.interval:g} s"
    )
    for name, step in steps.items():
        table.add_row(name, f"{step['p50']:.3f}", f"{step['p95']:.3f}", f"{step['p50'] / whole:.0%}")
    table.add_row("whole (readable)", f"{path['p50']:.3f}", f"{path['p95']:.3f}", "")
    for name, value in floor.items():
        table.add_row(f"floor: {name}", f"{value:.3f}", "", "")
    table.add_row("floor: together", f"{sum(floor.values()):.3f}", "", "")
    Console().print(table)
    Console().print(f"ratio to the floor (p50): {result['ratio_to_floor']:.2f}   JSON: {arguments.json}")


if __name__ == "__main__":
    main()

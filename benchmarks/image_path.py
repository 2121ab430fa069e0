"""The image path and the study path beside their bare parts: one study, 4 and 16 in flight; what the engine adds, and where.

    .venv/bin/python benchmarks/image_path.py                # 3 rounds, about 6 minutes
    .venv/bin/python benchmarks/image_path.py --quick        # 1 short round: shows that it runs, its figures mean nothing

Image path: from the record on `ai.requests` to that on `ai.results`, with no other role running. Study path: from the record on
`imaging.studies` to the report acknowledged by the FHIR server, with all roles but `watch` (the benchmark says which study is
complete). Kafka, Orthanc, the FHIR server and the benchmark share the machine. Bare parts and paths are measured in turns, and
compared within a round. In flight: so many are kept requested and not yet answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import image_path_figures as figures
from image_path_bare import HOP, Parts, decoding
from image_path_studies import STATIONS, Bench, Seen
from rich.console import Console

from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, ensure_topics
from connectors.mllp.client import MllpClient
from schemas.errors import RadstreamError
from schemas.study_ports import StudyDescription
from streams.demo.orders import order_for
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.health import read_health
from streams.local_engine import settings_for
from streams.services import ServiceError, ServicePorts, running_services
from streams.settings import Settings, as_environment
from streams.supervisor import Supervisor
from streams.wiring import ROLES
from streams.wiring.clients import archive_for, ensure_all_topics, fhir_server_for

IN_FLIGHT = (1, 4, 16)
#: studies before anything counts
WARM = 6
PATIENT = "BENCH"
console = Console(stderr=True, highlight=False, soft_wrap=True)


@asynccontextmanager
async def _analyse(settings: Settings, lags: Path) -> AsyncIterator[None]:
    """The role with its probe, ready, for the length of the block."""
    with (settings.run_folder / "analyse.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, Path(__file__).with_name("image_path_analyse.py"), lags,
            env={**os.environ, **as_environment(settings)}, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        async with asyncio.timeout(120):
            while (health := read_health(settings.run_folder).get("work-analyse")) is None or health.state == "starting":
                if process.returncode is not None:
                    raise ServiceError((settings.run_folder / "analyse.log").read_text()[-2000:])
                await asyncio.sleep(0.1)  # its health is a file
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _stored(settings: Settings, accessions: Sequence[str]) -> list[StudyDescription]:
    archive, found = archive_for(settings), []
    for accession in accessions:
        await archive.store([copy_of(CHEST, accession_number=accession, patient_id=PATIENT)])
        found.append(await archive.describe(study_uid_of(accession)))
    archive.close()
    return found


async def _ordered(settings: Settings, seen: Seen, accessions: Sequence[str]) -> None:
    assigner = settings.site.default_assigner
    async with MllpClient(settings.mllp.host, settings.mllp.port) as mllp:
        for accession in accessions:
            order = order_for(accession, patient=PATIENT, assigner=assigner, at=datetime.now(UTC), control_id=accession)
            if not (await mllp.send(order)).accepted:
                raise ServiceError(f"the order {accession} was not accepted")


async def run(services: Any, folder: Path, rounds: int, counts: Sequence[int], repeats: int, threads: int) -> dict[str, Any]:
    settings = settings_for(services, folder, models={"threads": threads})
    settings.run_folder.mkdir(parents=True)
    await asyncio.to_thread(ensure_all_topics, settings)
    await asyncio.to_thread(ensure_topics, services.kafka_bootstrap, [TopicSpec(HOP, 1)])
    accessions = [f"BENCH-{number:04d}" for number in range(WARM + rounds * sum(counts))]
    console.print(f"storing {len(accessions)} studies")
    studies = await _stored(settings, accessions)
    lags = folder / "lags"
    others = Supervisor(
        [role for role in ROLES if role not in ("watch", "work analyse")],
        settings.run_folder,
        kill_after_s=settings.runner.kill_after_s,
        environment=as_environment(settings),
    )
    measured: dict[str, list[figures.Round]] = {"study path": [], "image path": []}
    async with KafkaLog(services.kafka_bootstrap) as log:
        bench = Bench(settings, log, Seen(), lags)
        following = [asyncio.create_task(bench.seen.follow(log, topic.name)) for topic in STATIONS]

        async def round_of(name: str, parts: Parts, studies: Sequence[StudyDescription]) -> None:
            bare, ours = await parts.measured()
            path = bench.study_path if name == "study path" else bench.image_path
            paths, begin = {}, 0
            for number, count in zip(IN_FLIGHT, counts, strict=True):
                paths[number] = await path(studies[begin : begin + count], number)
                begin += count
            measured[name].append(figures.Round(bare, ours, paths))
            console.print(f"{name}, round {len(measured[name])} of {rounds}: {paths[IN_FLIGHT[-1]].per_second:.1f} studies/s")

        def parts_of(study: StudyDescription) -> Parts:
            result = bench.seen.last_result
            if result is None:
                raise ServiceError("there is no result")
            described = next(one for one in studies if one.study_instance_uid.encode() == result.key)
            return Parts(settings, log, described.study_instance_uid, described.images[0], result.value, repeats)

        async with others.running():  # it forgets the health of whoever was there before
            await others.ready(120)
            async with _analyse(settings, lags):
                await _ordered(settings, bench.seen, accessions)
                await bench.study_path(studies[:WARM], 1)  # warm
                async with parts_of(studies[0]) as parts:
                    for number in range(rounds):
                        begin = WARM + number * sum(counts)
                        await round_of("study path", parts, studies[begin : begin + sum(counts)])
        server = fhir_server_for(settings)
        for accession in accessions:
            if not await server.search_reports(accession):
                raise ServiceError(f"no report of {accession}")
        async with _analyse(settings, lags):
            await bench.image_path(studies[:WARM], 1)
            async with parts_of(studies[0]) as parts:
                for number in range(rounds):
                    begin = WARM + number * sum(counts)
                    await round_of("image path", parts, studies[begin : begin + sum(counts)])
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": rounds,
        "threads": threads,
        "image path": figures.figures(measured["image path"], figures.IMAGE),
        "study path": figures.figures(measured["study path"], figures.STUDY),
        "decoding": await asyncio.to_thread(decoding, folder, repeats),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 round of a few studies")
    parser.add_argument("--rounds", type=int, help="default 3")
    parser.add_argument("--threads", type=int, default=Settings().models.threads, help="of the model, default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("var/benchmarks/image_path.json"), help="default %(default)s")
    told = parser.parse_args()
    rounds, counts, repeats = (1, (6, 10, 20), 5) if told.quick else (3, (10, 20, 48), 15)
    rounds = told.rounds or rounds
    try:
        with (
            tempfile.TemporaryDirectory(prefix="radstream-image-path-") as name,
            running_services(Path(name) / "services", ServicePorts.free(), stable_age_seconds=600, tell=console.print) as services,
        ):
            result = asyncio.run(run(services, Path(name), rounds, counts, repeats, told.threads))
    except (ServiceError, RadstreamError, TimeoutError) as error:
        console.print(f"[red]{type(error).__name__}[/red]", str(error), markup=True)
        return 1
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(result, indent=1) + "\n")
    for shown in figures.tables(result):
        Console(width=None if sys.stdout.isatty() else 110, highlight=False).print(shown)
    print(f"JSON: {told.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

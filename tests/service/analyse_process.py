"""The process of the role `work analyse` as the supervisor has it, on a Kafka of its own and a real Orthanc."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connectors.dicomweb import DicomWebArchive
from connectors.kafka import KafkaLog
from schemas.events import Priority
from schemas.findings import Subject
from schemas.identifiers import identity
from schemas.ports import Record
from schemas.study_events import AnalysisRequested, revision_of
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.emission import emit
from streams.settings import Settings, as_environment
from streams.supervisor import Supervisor
from streams.wiring.clients import archive_for, ensure_all_topics

ROLE = "work analyse"


@dataclass
class Analysing:
    """`results` by their analysis id, in the order in which they were written to each partition."""

    settings: Settings
    supervisor: Supervisor
    log: KafkaLog
    archive: DicomWebArchive
    results: dict[str, Record] = field(default_factory=dict)
    repeated: int = 0
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _asked: int = 0

    @property
    def pid(self) -> int:
        return self.supervisor.processes[ROLE].pid

    async def stored(self, accession: str) -> AnalysisRequested:
        """A chest in the archive, and what is asked about it."""
        study = study_uid_of(accession)
        await self.archive.store([copy_of(CHEST, accession_number=accession, patient_id="P-1")])
        images = (await self.archive.describe(study)).images
        at = datetime.now(UTC)
        subject = Subject(study_instance_uid=study, revision=revision_of(images), sequence=1, triggered_at=at)
        return AnalysisRequested(id=identity("analysis", study), time=at, subject=subject, images=images)

    async def ask(self, requests: Sequence[AnalysisRequested], priority: Priority = Priority.ROUTINE) -> list[str]:
        """Puts them on the topic of their priority, each under a new analysis id; returns these."""
        topic = topics.REQUESTS_STAT if priority is Priority.STAT else topics.REQUESTS
        asked = []
        for request in requests:
            self._asked += 1
            study = request.subject.study_instance_uid
            asked.append(request.model_copy(update={"id": identity("analysis", study, str(self._asked)), "priority": priority}))
        await self.log.append([emit(topic, one.subject.study_instance_uid, one, None) for one in asked])
        return [str(one.id) for one in asked]

    async def answered(self, ids: Sequence[str], timeout_s: float = 300) -> list[Record]:
        """The results with these analysis ids. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self.news:
            await self.news.wait_for(lambda: all(one in self.results for one in ids))
        return [self.results[one] for one in ids]

    async def any_answered(self, ids: Sequence[str], count: int, timeout_s: float = 300) -> None:
        """Returns when at least `count` of them have a result. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self.news:
            await self.news.wait_for(lambda: sum(one in self.results for one in ids) >= count)

    async def follow(self) -> None:
        async for record in self.log.read(topics.RESULTS.name, follow=True):
            async with self.news:
                name = record.header("ce_id") or ""
                self.repeated += name in self.results
                self.results.setdefault(name, record)
                self.news.notify_all()


@asynccontextmanager
async def analysing(bootstrap: str, orthanc_url: str, folder: Path, **sections: Any) -> AsyncIterator[Analysing]:
    """Ready, for the length of the block. `sections`: further settings."""
    settings = Settings(
        **{
            "run_folder": folder / "run",
            "kafka": {"bootstrap": bootstrap},
            "archive": {"orthanc_url": orthanc_url, "dicomweb_url": f"{orthanc_url}/dicom-web"},
            "database": {"url": f"sqlite:///{folder / 'radstream.db'}"},
            **sections,
        }
    )
    await asyncio.to_thread(ensure_all_topics, settings)
    supervisor = Supervisor([ROLE], settings.run_folder, kill_after_s=10, environment=as_environment(settings))
    async with supervisor.running(), KafkaLog(bootstrap) as log:
        await supervisor.ready(120)
        found = Analysing(settings, supervisor, log, archive_for(settings))
        following = asyncio.create_task(found.follow())
        try:
            yield found
        finally:
            following.cancel()
            await asyncio.wait([following])
            found.archive.close()


def decoding_processes(parent: int) -> set[int]:
    """What multiprocessing spawned below the process, proc(5); its resource tracker is none."""
    children = {int(pid) for task in Path(f"/proc/{parent}/task").iterdir() for pid in (task / "children").read_text().split()}
    return {pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def resident_mib(pid: int) -> float:
    """VmRSS, proc(5)."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024

"""Studies through the image path and the study path, so many in flight, and when each was at each station."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import image_path_figures as figures

from connectors.kafka import KafkaLog
from schemas.findings import Subject
from schemas.identifiers import identity
from schemas.ports import Outgoing, Record
from schemas.study_events import AnalysisRequested, StudyCompleted, revision_of
from schemas.study_ports import StudyDescription
from streams import topics
from streams.emission import emit
from streams.settings import Settings

STATIONS = (topics.STUDIES, topics.REQUESTS, topics.RESULTS, topics.FINDINGS, topics.DELIVERIES)
STEPS = ("correlate", "analyse", "report", "deliver")
#: results before the line is full
FILLING = 4


@dataclass
class Seen:
    """When each study (by its UID) and each analysis (by its id) was first at each station, in seconds since 1970."""

    at: dict[tuple[str, str], float] = field(default_factory=dict)
    last_result: Record | None = None
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def follow(self, log: KafkaLog, topic: str) -> None:
        async for record in log.read(topic, follow=True):
            study = json.loads(record.value)["study_instance_uid"] if topic == topics.DELIVERIES.name else record.key.decode()  # type: ignore[union-attr]
            async with self.news:
                for name in (study, record.header("ce_id") or ""):
                    self.at.setdefault((topic, name), record.timestamp.timestamp())
                if topic == topics.RESULTS.name:
                    self.last_result = record
                self.news.notify_all()

    async def arrived(self, topic: topics.Topic, *names: str) -> None:
        async with asyncio.timeout(300), self.news:
            await self.news.wait_for(lambda: all((topic.name, name) in self.at for name in names))


@dataclass
class Bench:
    settings: Settings
    log: KafkaLog
    seen: Seen
    lags: Path
    _analyses: int = 0

    async def image_path(self, studies: Sequence[StudyDescription], in_flight: int) -> figures.Path:
        begun = time.time()
        names = []

        async def one(study: StudyDescription) -> None:
            self._analyses += 1
            request = _request(study, self._analyses)
            names.append(str(request.id))
            await self.log.append([emit(topics.REQUESTS, study.study_instance_uid, request, None)])
            await self.seen.arrived(topics.RESULTS, str(request.id))

        await _kept_in_flight(in_flight, studies, one)
        await self.seen.arrived(topics.REQUESTS, *names)
        at = self.seen.at
        ends = [at[topics.RESULTS.name, name] for name in names]
        times = [(at[topics.RESULTS.name, name] - at[topics.REQUESTS.name, name]) * 1000 for name in names]
        return figures.Path(times, figures.per_second(ends, FILLING), await self._lag_since(begun))

    async def study_path(self, studies: Sequence[StudyDescription], in_flight: int) -> figures.Path:
        begun = time.time()

        async def one(study: StudyDescription) -> None:
            await self.log.append([_completed(study)])
            await self.seen.arrived(topics.DELIVERIES, study.study_instance_uid)

        await _kept_in_flight(in_flight, studies, one)
        uids = [study.study_instance_uid for study in studies]
        for station in STATIONS:
            await self.seen.arrived(station, *uids)
        at = self.seen.at
        steps = {
            step: [(at[b.name, uid] - at[a.name, uid]) * 1000 for uid in uids]
            for step, a, b in zip(STEPS, STATIONS, STATIONS[1:], strict=False)
        }
        ends = [at[topics.DELIVERIES.name, uid] for uid in uids]
        times = [(at[topics.DELIVERIES.name, uid] - at[topics.STUDIES.name, uid]) * 1000 for uid in uids]
        return figures.Path(times, figures.per_second(ends, FILLING), await self._lag_since(begun), steps)

    async def _lag_since(self, begun: float) -> list[float]:
        ended = time.time()
        lines: list[list[str]] = []
        while not lines or float(lines[-1][0]) < ended:
            await asyncio.sleep(0.1)  # another process writes when its buffer is full: a file gives no event
            lines = [line.split() for line in self.lags.read_text().splitlines()[:-1]]
        return [float(lag) for at, lag in lines if begun <= float(at) <= ended]


async def _kept_in_flight(
    count: int, studies: Sequence[StudyDescription], one: Callable[[StudyDescription], Awaitable[None]]
) -> None:
    left = iter(studies)

    async def lane() -> None:
        for study in left:
            await one(study)

    await asyncio.gather(*(lane() for _ in range(count)))


def _request(study: StudyDescription, number: int) -> AnalysisRequested:
    uid, at = study.study_instance_uid, datetime.now(UTC)
    subject = Subject(study_instance_uid=uid, revision=revision_of(study.images), sequence=1, triggered_at=at)
    return AnalysisRequested(id=identity("analysis", uid, str(number)), time=at, subject=subject, images=study.images)


def _completed(study: StudyDescription) -> Outgoing:
    uid, revision = study.study_instance_uid, revision_of(study.images)
    event = StudyCompleted(
        id=identity("study", uid, revision),
        time=datetime.now(UTC),
        study_instance_uid=uid,
        accession_number=study.accession_number,
        patient=study.patient,
        images=study.images,
        revision=revision,
        source="benchmark",
        instance_count=1,
    )
    return emit(topics.STUDIES, uid, event, None)

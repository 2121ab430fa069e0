"""The programs of docs/subscribing.md on a real Kafka: they print every state once, the last one last, and commit what they did."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from connectors.kafka import KafkaLog
from connectors.kafka_admin import group_lag
from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import StudyInstanceUID
from streams.emission import emit_findings
from streams.services.build import DEPLOY
from streams.services.service import java
from streams.settings import KafkaSettings, Settings
from streams.topics import RESULTS
from streams.wiring.clients import ensure_all_topics
from tests.contract.example_findings import devices_alone, findings, not_analysed, subject, two_findings

pytestmark = [pytest.mark.service, pytest.mark.timeout(240)]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def _commands(scratch: Path) -> dict[str, list[str]]:
    libraries = f"{DEPLOY / 'kafka' / 'target' / 'lib'}/*"
    return {
        "python": [sys.executable, str(EXAMPLES / "subscribe.py")],
        "java": [*java(scratch), "-cp", libraries, str(EXAMPLES / "Subscribe.java")],
    }


class _Lines:
    """What the program prints of one study, as it comes."""

    def __init__(self, process: subprocess.Popen[str], study: str) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(process, study), daemon=True).start()

    def _read(self, process: subprocess.Popen[str], study: str) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"{study} "):
                self._lines.put(line.removeprefix(f"{study} ").strip())

    def next(self, count: int) -> list[str]:
        return [self._lines.get(timeout=120) for _ in range(count)]

    @property
    def waiting(self) -> int:
        return self._lines.qsize()


@contextmanager
def _running(command: list[str], study: str) -> Iterator[_Lines]:
    """Until it is killed."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _Lines(process, study)
        finally:
            process.kill()


@pytest.mark.parametrize("language", ["python", "java"])
async def test_a_subscriber(kafka_bootstrap: str, tmp_path: Path, language: str) -> None:
    ensure_all_topics(Settings(kafka=KafkaSettings(bootstrap=kafka_bootstrap)))
    study, group = StudyInstanceUID(f"2.25.{uuid4().int}"), f"subscriber-{uuid4().hex}"
    command = [*_commands(tmp_path)[language], kafka_bootstrap, group]

    def about(sequence: int, **changed: object) -> Findings:
        return two_findings(subject(sequence, study=study).model_copy(update=changed))

    marked = about(9).model_copy(update={"verified_at": about(9).subject.triggered_at})
    first = [
        about(4),
        about(4),  # at least once
        devices_alone(subject(4, study=study)),
        about(2, outward=False),
        about(12, outward=False),
        about(8),
        about(4),  # replayed
        marked,
        not_analysed(NotAnalysedReason.MODEL_RECALLED, subject(10, study=study)),
    ]
    async with KafkaLog(kafka_bootstrap) as log:
        with _running(command, study) as lines:
            await log.append([emit_findings(state, None) for state in first])
            assert lines.next(5) == [
                "chest-radiograph-findings 4 nodule 0.74, mass 0.75",
                "chest-radiograph-devices 4 central-venous-catheter 0.02, endotracheal-tube 0.93, nasogastric-tube 0.40, "
                "pacemaker 0.10, central-venous-catheter 0.30, endotracheal-tube 0.91, nasogastric-tube 0.01, pacemaker 0.88",
                "chest-radiograph-findings 8 nodule 0.74, mass 0.75",
                "chest-radiograph-findings 9 nodule 0.74, mass 0.75 (after verification)",
                "chest-radiograph-findings 10 not analysed: model-recalled",
            ]
            await log.append([emit_findings(findings(subject(12, study=study)), None)])
            assert lines.next(1) == ["chest-radiograph-findings 12 nothing found"]
            while sum(group_lag(kafka_bootstrap, group, [RESULTS.name]).values()):
                pass  # what it has done it commits
            assert not lines.waiting

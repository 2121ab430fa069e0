"""What one version of a model has said and still stands: `ai.results`, folded. Pure but for what it remembers."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from schemas.findings import Findings, ModelIdentity
from schemas.identifiers import AccessionNumber, StudyInstanceUID
from schemas.ports import Record


@dataclass(frozen=True, slots=True)
class Stands:
    """One answer. `findings`: how many it found."""

    study_instance_uid: StudyInstanceUID
    accession_number: AccessionNumber | None
    service: str
    sequence: int
    findings: int
    at: datetime


@dataclass(slots=True)
class Standing:
    """Of each study and service the state with the highest number counts, in whatever order they come. Of others' answers only that
    number is kept: the topic holds every answer ever given. `spoke`: whether this version ever answered."""

    name: str
    version: str
    answers: dict[tuple[str, str], Stands] = field(default_factory=dict)
    spoke: bool = False
    _latest: dict[tuple[str, str], int] = field(default_factory=dict)
    _seen: dict[int, int] = field(default_factory=dict)

    def see(self, record: Record) -> bool:
        """False: it was seen before (read again from the beginning). What is no Findings is passed over."""
        place = record.place
        if place.offset <= self._seen.get(place.partition, -1):
            return False
        self._seen[place.partition] = place.offset
        try:
            findings = Findings.model_validate_json(record.value)
        except ValidationError:
            return True  # a dead letter of every step that reads it
        subject = findings.subject
        mine = findings.not_analysed is None and self._made(findings.model)
        self.spoke |= self._made(findings.model)
        key = str(subject.study_instance_uid), sys.intern(findings.service)
        if subject.sequence < self._latest.get(key, 0):
            return True
        self._latest[key] = subject.sequence
        if mine:
            self.answers[key] = Stands(
                subject.study_instance_uid,
                subject.accession_number,
                findings.service,
                subject.sequence,
                len(findings.findings),
                subject.triggered_at,
            )
        else:
            self.answers.pop(key, None)
        return True

    def _made(self, model: ModelIdentity | None) -> bool:
        return model is not None and (model.name, model.version) == (self.name, self.version)

"""What `correlate` keeps of answers, of radiologists' reports, of recalled models and of discrepancies (see schemas.case_store)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from schemas.events import ReportEvent
from schemas.findings import Findings, Subject
from schemas.identifiers import StudyInstanceUID
from schemas.model_events import ModelRecalled
from schemas.ports import Place, Record

#: when the answers came that a database held before any were heard: nobody knows what was told between them
BEFORE_HEARING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a service said of a state of a study, as it was heard first. `value`: the Findings; `came_at`: when it came to the log;
    `model`: name and version, None: it was not analysed. `verified_at`: it came after verification (OBR-22 of the report), and so
    it stays; `because`: the report event that made it so afterwards. `place` and `traceparent` are of its record: from there
    comes what is said of it later."""

    study_instance_uid: StudyInstanceUID
    service: str
    sequence: int
    analysis_id: UUID
    value: bytes
    came_at: datetime
    model: tuple[str, str] | None = None
    verified_at: datetime | None = None
    because: UUID | None = None
    place: Place | None = None
    traceparent: str | None = None

    @property
    def findings(self) -> Findings:
        return Findings.model_validate_json(self.value)

    @property
    def record(self) -> Record | None:
        """Its record, as far as it is kept."""
        if self.place is None:
            return None
        headers = () if self.traceparent is None else (("traceparent", self.traceparent.encode("utf-8")),)
        return Record(self.place, None, self.value, headers, self.came_at)


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """`event`: its DiscrepancyOpened; `sequence`: of the answer that opened it. `withdrawn_by`: the analysis id of the state that
    ended it, `withdrawn_sequence` its number. `acknowledged`: a person has looked at it, whenever that was read."""

    discrepancy_id: UUID
    study_instance_uid: StudyInstanceUID
    service: str
    analysis_id: UUID
    sequence: int
    event: bytes
    withdrawn_by: UUID | None = None
    withdrawn_sequence: int = 0
    acknowledged: bool = False


class Hearings(Protocol):
    """Part of the port `Correlation`: all inside its transaction."""

    async def put_report(self, report: ReportEvent) -> None:
        """Once, however often put."""
        ...

    async def reports_of(self, subject: Subject) -> Sequence[ReportEvent]:
        """All report events that may be of the study: by its accession numbers or, of those that have none of their own, by placer
        and filler number of its orders; each as its own class, in order of arrival."""
        ...

    async def put_heard(self, heard: Heard) -> Heard:
        """Kept as it was put first, by study, service, sequence and analysis; returns what is kept."""
        ...

    async def mark_heard(self, heard: Heard) -> None:
        """It came after verification: its `verified_at` and `because` are kept, unless some were before."""
        ...

    async def heard_of(self, study: StudyInstanceUID) -> Sequence[Heard]:
        """All of a study, by service and sequence."""
        ...

    async def put_recalled(self, event: ModelRecalled) -> ModelRecalled:
        """A version of a model is recalled once; returns the first."""
        ...

    async def recalled(self, name: str, version: str) -> ModelRecalled | None: ...

    async def studies_heard_from(self, name: str, version: str, after: str, limit: int) -> Sequence[StudyInstanceUID]:
        """The next studies after `after` ("": the first) of which this version of a model ever said anything, in an order that
        stays the same."""
        ...

    async def put_discrepancy(self, discrepancy: Discrepancy) -> None:
        """Insert or replace; `acknowledged` is not of it."""
        ...

    async def discrepancies_of(self, study: StudyInstanceUID) -> Sequence[Discrepancy]:
        """Sorted by id."""
        ...

    async def put_acknowledged(self, discrepancy_id: UUID) -> None:
        """Whether it is known or not; never forgotten."""
        ...

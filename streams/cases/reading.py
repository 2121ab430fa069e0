"""The records of a case, read by their places, and those that caused them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from schemas.case_store import TimelineEntry
from schemas.discrepancies import DISCREPANCY_EVENTS
from schemas.events import ORDER_EVENTS, REPORT_EVENTS, DeliveryAcknowledged
from schemas.findings import Findings
from schemas.history import History
from schemas.ports import Place, Record
from schemas.study_events import AnalysisRequested, StudyCompleted
from streams import topics
from streams.causes import cause_of
from streams.placed import records_at

_V = TypeVar("_V", bound=BaseModel | None, covariant=True)
_K = TypeVar("_K", bound=BaseModel)


class Reading:
    """What was read so far. `records`: those that are there; `gone`: why the others are not."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.records: dict[Place, Record] = {}
        self.gone: dict[Place, str] = {}

    async def read(self, places: Iterable[Place]) -> None:
        """These, and all that led to them. Raises BrokerUnavailable, ObjectStoreUnavailable."""
        wanted = {place for place in places if place not in self.records and place not in self.gone}
        while wanted:
            records, gone = await records_at(self._history, wanted)
            self.records |= records
            self.gone |= gone
            causes = map(cause_of, records.values())
            wanted = {cause for cause in causes if cause is not None and cause not in self.records and cause not in self.gone}

    def behind(self, place: Place) -> list[Place]:
        """It and what led to it, the nearest first, as far as that was read; the last may be gone."""
        chain = [place]
        while (record := self.records.get(chain[-1])) is not None and (cause := cause_of(record)) is not None:
            if cause in chain:
                break
            chain.append(cause)
        return chain


@dataclass(frozen=True, slots=True)
class Line(Generic[_V]):
    """An entry of the timeline, its record, and what its value says (None: nothing that is asked for)."""

    entry: TimelineEntry
    record: Record
    value: _V


Lines = Sequence[Line[BaseModel | None]]


def lines_of(entries: Iterable[TimelineEntry], reading: Reading) -> list[Line[BaseModel | None]]:
    """Of those whose records are there; one that another version wrote counts as gone."""
    lines: list[Line[BaseModel | None]] = []
    for entry in entries:
        record = reading.records.get(entry.place)
        if record is None:
            continue
        kind = _KINDS.get(entry.place.topic, _nothing)(record.header("ce_type") or "")
        try:
            lines.append(Line(entry, record, None if kind is None else kind.model_validate_json(record.value)))
        except ValueError:
            reading.gone[entry.place] = "this version cannot read it"
    return lines


def of_kind(kind: type[_K], lines: Lines) -> list[Line[_K]]:
    """In order of arrival."""
    return [Line(line.entry, line.record, line.value) for line in lines if isinstance(line.value, kind)]


def _nothing(_: str) -> None:
    return None


def _always(kind: type[BaseModel]) -> Callable[[str], type[BaseModel] | None]:
    return lambda _: kind


_KINDS: dict[str, Callable[[str], type[BaseModel] | None]] = {
    topics.ORDERS.name: ORDER_EVENTS.get,
    topics.REPORTS.name: REPORT_EVENTS.get,
    topics.STUDIES.name: _always(StudyCompleted),
    topics.REQUESTS.name: _always(AnalysisRequested),
    topics.REQUESTS_STAT.name: _always(AnalysisRequested),
    topics.REQUESTS_BULK.name: _always(AnalysisRequested),
    topics.RESULTS.name: _always(Findings),
    topics.DELIVERIES.name: _always(DeliveryAcknowledged),
    topics.DISCREPANCIES.name: DISCREPANCY_EVENTS.get,
}

"""What the tests of `inform` share: records of `ai.results`, and a receiver that forgets nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from schemas.events import DeliveryAcknowledged
from schemas.findings import Findings, NotAnalysedReason
from schemas.ports import Acknowledgement, Outgoing, Place, Record
from streams.topics import RESULTS
from tests.contract.example_findings import not_analysed, subject

#: the destination
RIS = "ris"


def record_of(findings: Findings, offset: int = 3) -> Record:
    """As it would stand on its topic."""
    subject = findings.subject
    value = findings.model_dump_json().encode("utf-8")
    at = datetime(2026, 11, 24, 9, tzinfo=UTC)
    return Record(Place(RESULTS.name, 0, offset), subject.study_instance_uid.encode("ascii"), value, (), at)


def withdrawn(sequence: int) -> Findings:
    """A state in which nothing holds any more."""
    return not_analysed(NotAnalysedReason.MODEL_RECALLED, subject(sequence))


def said(outputs: Sequence[Outgoing]) -> DeliveryAcknowledged:
    """The one delivery that was told."""
    (out,) = outputs
    return DeliveryAcknowledged.model_validate_json(out.value)


class Documents:
    """A receiver with a document for each state, that takes away only what it is told to: neither does it know what it holds of a
    study, nor does it see that a later state is there. `faults`: what each telling meets, one after the other: an error, and
    whether what was told arrived all the same. `later`: tellings (a state, and what is held) of which it says that it holds a later
    state."""

    def __init__(self) -> None:
        self.live: set[int] = set()
        self.tellings: list[tuple[int, int | None]] = []
        self.faults: list[tuple[Exception | None, bool]] = []
        self.later: set[tuple[int, int | None]] = set()

    async def tell(self, findings: Findings, held: Findings | None) -> Acknowledgement:
        sequence, before = findings.subject.sequence, None if held is None else held.subject.sequence
        fault, arrives = self.faults.pop(0) if self.faults else (None, True)
        if arrives:
            self.tellings.append((sequence, before))
            if before is not None and before != sequence:
                self.live.discard(before)
            if findings.not_analysed is None:
                self.live.add(sequence)
        if fault is not None:
            raise fault
        return Acknowledgement(f"document {sequence}", superseded=(sequence, before) in self.later)

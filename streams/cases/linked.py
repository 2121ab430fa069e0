"""What belongs to a case by the numbers of its orders alone: an order that is held until its accession number is known, a report
that names none."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.case_store import CaseStore, TimelineEntry, Traces
from streams.case_names import Numbers, accession_names, numbers_of, of_one_line
from streams.topics import ORDERS, REPORTS

_LINE = ("placer", "filler")
_TOPICS = frozenset({ORDERS.name, REPORTS.name})


async def case_of(accession_number: str, cases: CaseStore) -> Sequence[TimelineEntry]:
    """The timeline, and what is linked to it; oldest first. Raises StoreUnavailable."""
    timeline = await cases.timeline(accession_number)
    known = {entry.place for entry in timeline}
    linked = [entry for entry in await _linked(accession_number, cases) if entry.place not in known]
    return sorted([*timeline, *linked], key=lambda entry: entry.at)  # stable: what is as old stays as it was put


async def _linked(accession_number: str, kept: Traces) -> Sequence[TimelineEntry]:
    named = await kept.traced(accession_names(accession_number))
    orders = [numbers_of(one.names) for one in named if one.place.topic in _TOPICS]
    lines = {name for numbers in orders for kind in _LINE for name in numbers.get(kind, ())}
    if not lines:
        return ()
    return [
        TimelineEntry(one.at, one.place, one.type, "told without an accession number")
        for one in await kept.traced(lines)
        if one.place.topic in _TOPICS
        and _without_accession(numbers := numbers_of(one.names))
        and any(of_one_line(numbers, order) for order in orders)
    ]


def _without_accession(numbers: Numbers) -> bool:
    """One that has another accession number is another order: some senders write one placer order number for all."""
    return "accession" not in numbers

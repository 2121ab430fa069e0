"""What belongs to a case by the numbers of its orders alone: an order that is held until its accession number is known, a report
that names none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from schemas.case_store import CaseStore, TimelineEntry, Traced, Traces
from streams.case_names import accession_names
from streams.topics import ORDERS, REPORTS

_LINE = ("placer", "filler")
_TOPICS = frozenset({ORDERS.name, REPORTS.name})

Numbers = Mapping[str, Collection[str]]


async def case_of(accession_number: str, cases: CaseStore) -> Sequence[TimelineEntry]:
    """The timeline, and what is linked to it; oldest first. Raises StoreUnavailable."""
    timeline = await cases.timeline(accession_number)
    known = {entry.place for entry in timeline}
    linked = [entry for entry in await _linked(accession_number, cases) if entry.place not in known]
    return sorted([*timeline, *linked], key=lambda entry: entry.at)  # stable: what is as old stays as it was put


async def _linked(accession_number: str, kept: Traces) -> Sequence[TimelineEntry]:
    named = await kept.traced(accession_names(accession_number))
    orders = [_numbers(one) for one in named if one.place.topic in _TOPICS]
    lines = {name for numbers in orders for kind in _LINE for name in numbers[kind]}
    if not lines:
        return ()
    return [
        TimelineEntry(one.at, one.place, one.type, "told without an accession number")
        for one in await kept.traced(lines)
        if one.place.topic in _TOPICS
        and _without_accession(numbers := _numbers(one))
        and any(_agree(numbers, order) for order in orders)
    ]


def _numbers(one: Traced) -> Numbers:
    """Its names, by kind."""
    found: dict[str, set[str]] = defaultdict(set)
    for name in one.names:
        found[name.partition(" ")[0]].add(name)
    return found


def _without_accession(numbers: Numbers) -> bool:
    """One that has another accession number is another order: some senders write one placer order number for all."""
    return "accession" not in numbers


def _agree(one: Numbers, other: Numbers) -> bool:
    """They share a number, and contradict each other in none."""
    pairs = [(set(one.get(kind, ())), set(other.get(kind, ()))) for kind in _LINE]
    return any(a & b for a, b in pairs) and all(not a or not b or a & b for a, b in pairs)

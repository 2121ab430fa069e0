"""What a record concerns, read along the numbers it names: all events of its order lines, all events of its persons."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from schemas.case_store import Correlation, OrderNumber
from schemas.events import OrderEvent
from schemas.identifiers import AccessionNumber, PatientIdentifier
from streams.order_lines import Line, around
from streams.persons import Identifiers, Persons


async def orders_around(
    rows: Correlation, lines: Iterable[Line] = (), accessions: Collection[AccessionNumber] = ()
) -> tuple[Sequence[OrderEvent], frozenset[OrderNumber]]:
    """All order events that name one of the lines, or a line that any event puts under one of the accession numbers, over any
    number of steps and of replacements, in order of arrival; and the numbers they were found by."""
    known = frozenset(lines)
    numbers: frozenset[OrderNumber] = _numbers(known).union(accessions)
    while numbers:
        events, known = around(await rows.orders_sharing(numbers), known, accessions)
        more = _numbers(known)
        if more <= numbers:
            return events, numbers
        numbers |= more
    return (), numbers


async def persons_around(rows: Correlation, identifiers: Iterable[PatientIdentifier]) -> tuple[Persons, Identifiers]:
    """What is known of the persons who have these identifiers; and all identifiers it was found by: these, and those joined
    with them."""
    reached = frozenset(identifiers)
    while reached:
        persons = Persons(await rows.patient_events(reached))
        more = reached.union(*(persons.person(one) for one in reached))
        if more == reached:
            return persons, reached
        reached = more
    return Persons(), reached


def _numbers(lines: Iterable[Line]) -> frozenset[OrderNumber]:
    return frozenset(number for line in lines for number in line if number is not None)

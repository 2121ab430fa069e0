"""What a record concerns, read along the numbers it names: all events of its order lines, all events of its persons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.events import OrderEvent
from schemas.identifiers import AccessionNumber, PatientIdentifier
from schemas.ports import Correlation, OrderNumber
from streams.order_lines import Line, lines_known, lines_of, names_accession, speaks_of
from streams.persons import Identifiers, Persons


async def orders_of_lines(
    rows: Correlation, lines: Iterable[Line], accession: AccessionNumber | None = None
) -> tuple[Sequence[OrderEvent], frozenset[OrderNumber]]:
    """All order events that name one of the lines, or a line that any event puts under the accession number, over any number
    of steps and of replacements, in order of arrival; and the numbers they were found by."""
    known = frozenset(lines)
    numbers = _numbers(known, accession)
    while True:
        events = await rows.orders_sharing(numbers)
        under = [event for event in events if accession is not None and names_accession(event, accession)]
        known = lines_known(known.union(*map(lines_of, under)), events)
        more = _numbers(known, accession)
        if more <= numbers:
            return [event for event in events if event in under or speaks_of(event, known)], numbers
        numbers |= more


async def persons_around(rows: Correlation, identifiers: Iterable[PatientIdentifier]) -> tuple[Persons, Identifiers]:
    """What is known of the persons who have these identifiers; and all identifiers it was found by: these, and those joined
    with them."""
    reached = frozenset(identifiers)
    while True:
        persons = Persons(await rows.patient_events(reached))
        more = reached.union(*(persons.person(one) for one in reached))
        if more == reached:
            return persons, reached
        reached = more


def _numbers(lines: Iterable[Line], accession: AccessionNumber | None) -> frozenset[OrderNumber]:
    of_lines = frozenset(number for line in lines for number in line if number is not None)
    return of_lines if accession is None else of_lines | {accession}

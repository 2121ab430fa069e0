"""What belongs to a case does not depend on which of its records is judged first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import permutations
from typing import cast

import pytest

from schemas.case_store import Traced
from schemas.ports import Place
from streams.replay.following import Following, cases_of
from streams.replay.selection import Selection
from tests.unit.cases import NOON


class Named:
    """Of these records those that are named, in this order."""

    def __init__(self, several: Sequence[Traced]) -> None:
        self.several = several

    async def naming(self, names: Collection[str]) -> Sequence[Traced]:
        return [one for one in self.several if not one.names.isdisjoint(names)]


def traced(offset: int, *names: str) -> Traced:
    return Traced(Place("imaging.orders", 0, offset), NOON, "", frozenset(names), None)


ORDER = traced(0, "placer P1^R", "accession A1^R", "accession-value A1", "study 1.2", "patient 1^H")
#: of the same study, but the patient has another number now
CHANGE = traced(1, "placer P1^R", "study 1.2", "patient 2^H")
#: which names no number that is of one case alone
CANCELLATION = traced(2, "placer P1^R", "patient 2^H")
OTHER = traced(3, "placer P1^R", "patient 3^H")


@pytest.mark.parametrize("several", [*permutations([ORDER, CHANGE, CANCELLATION, OTHER])])
async def test_a_cancellation_of_the_number_that_the_patient_has_by_now_is_of_the_case(several: Sequence[Traced]) -> None:
    """Without it the order would stand in the replay. That of a third patient is not, though some senders give all one number."""
    found = await cases_of(Selection(accession_numbers=("A1",)), cast(Following, Named(several)))
    assert {one.place.offset for one in found} == {0, 1, 2}

"""Which accession number an order has now."""

from __future__ import annotations

from itertools import permutations

import pytest

from schemas.events import OrderEvent, OrderStatus
from streams.order_lines import with_accession_now
from tests.unit.cases import order

NW_1 = order(placer="P", accession="A1")
XO_2 = order(placer="P", accession="A2", at=1, changed=True)
XO_3 = order(placer="P", accession="A3", at=2, changed=True)
CANCELLED = order(placer="P", accession="A1", at=1, status=OrderStatus.CANCELLED)
P_F1 = order(placer="P", filler="F1", accession="A1")
P_F2 = order(placer="P", filler="F2", accession="A1")
#: no accession number sent: the filler order number stands for it
P_F = order(placer="P", filler="F", accession="F")
P_F_1 = order(placer="P", filler="F", accession="A1", at=1)


def now(events: list[OrderEvent]) -> list[str]:
    """In the order of their times: the accession number of each."""
    found = sorted(with_accession_now(events), key=lambda event: event.sender.occurred_at)
    return ["-" if event.accession_number is None else event.accession_number.value for event in found]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([NW_1, XO_2], "A2 A2"),
        ([NW_1, XO_2, order(placer="P", accession="A1", at=2, changed=True)], "A1 A1 A1"),
        # a new order under the same number is another one: some senders write a constant
        ([NW_1, order(placer="P", accession="A2", at=1)], "A1 A2"),
        ([NW_1, order(placer="P", accession="A2", at=1), XO_3], "A1 A2 A3"),
        ([NW_1, order(placer="P", accession="A2", at=1), order(placer="P", accession="A1", at=2, changed=True)], "A1 A2 A1"),
        # one placer number, two filler numbers
        ([P_F1, order(placer="P", filler="F2", accession="A2", at=1, changed=True)], "A1 A2"),
        ([P_F1, XO_2], "A2 A2"),
        ([NW_1, order(placer="P", filler="F1", accession="A2", at=1, changed=True)], "A2 A2"),
        ([P_F1, order(placer="P", filler="F2", accession="A2", at=1), XO_3], "A1 A2 A3"),
        ([NW_1, P_F1, order(filler="F1", accession="A2", at=2, changed=True)], "A2 A2 A2"),
        # cancelled
        ([NW_1, CANCELLED, XO_3], "A1 A1 A3"),
        ([NW_1, XO_2, order(placer="P", accession="A1", at=2, status=OrderStatus.CANCELLED)], "A2 A2 A2"),
        ([NW_1, order(placer="P", accession="A2", at=1, status=OrderStatus.CANCELLED)], "A1 A2"),
        # both lines: the number is free again
        ([P_F1, P_F2, CANCELLED, order(placer="P", filler="F3", accession="A2", at=1.5), XO_3], "A1 A1 A1 A3 A3"),
        # no accession number sent: the filler order number stands for it
        ([NW_1, order(placer="P", filler="F", accession="F", at=1, changed=True)], "A1 A1"),
        ([NW_1, order(placer="P", filler="F", accession="F", at=1, status=OrderStatus.CANCELLED)], "A1 A1"),
        ([P_F, P_F_1], "A1 A1"),
        ([P_F, P_F_1, order(placer="P", filler="F", accession="A2", at=2)], "A1 A1 A2"),
        # others
        ([NW_1, order(placer="P", at=1, changed=True)], "A1 -"),
        ([NW_1, order(placer="P", accession="A2", at=1, changed=True, sender="RIS")], "A1 A2"),
        ([order(accession="A1"), order(accession="A2", at=1, changed=True)], "A1 A2"),
    ],
)  # fmt: skip
def test_in_any_order_of_arrival(events: list[OrderEvent], expected: str) -> None:
    for shuffled in permutations(events):
        assert " ".join(now(list(shuffled))) == expected
    assert " ".join(now(events)) == expected

"""The chains that checkpoints are of: one of each partition, and another where the notary had to begin anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from streams.audit.faults import Fault
from streams.audit.series import Checkpoint, Series


def chains(series: Series) -> dict[tuple[str, int], list[list[Checkpoint]]]:
    """Of each partition, in their order; a chain that begins elsewhere, or goes back, is another one."""
    found: dict[tuple[str, int], list[list[Checkpoint]]] = {}
    for number in sorted(series):
        one = series[number].checkpoint
        of_partition = found.setdefault((one.topic, one.partition), [])
        if of_partition and of_partition[-1][-1].first == one.first and of_partition[-1][-1].end <= one.end:
            of_partition[-1].append(one)
        else:
            of_partition.append([one])
    return found


def length(series: Series) -> int:
    """How many offsets they go over, and a verification tells at the end, at most."""
    return sum(chain[-1].end - chain[0].first for of_partition in chains(series).values() for chain in of_partition)


def breaks(of_partition: Sequence[Sequence[Checkpoint]]) -> Iterator[Fault]:
    """Where the notary had to begin anew, it saw that something was gone."""
    for before, after in pairwise(of_partition):
        old, new = before[-1], after[0]
        place, between = f"{new.topic}/{new.partition}", (old.number, new.number)
        if new.first > old.end:
            yield Fault("vanished", place, "were gone before they were chained", old.end, new.first, between)
        elif new.first < old.end:
            said = "had been signed, and the log ended before them when a new chain was begun"
            yield Fault("shortened", place, said, new.first, old.end, between)

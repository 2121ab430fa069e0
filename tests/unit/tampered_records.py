"""Whoever changes records of a log behind the notary's back, and what must be found then."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from schemas.history import Span
from schemas.ports import Place, Record
from streams.audit.faults import Fault
from tests.unit.notarised import CHECKPOINTS, Notarised, Tampered


class TamperedRecords:
    """A copy of log and file, in the hands of somebody who changes records."""

    def __init__(self, of: Notarised, log: Tampered, file: Path, chance: random.Random) -> None:
        self.of, self.log, self.chance = of, log, chance
        self.file = file
        self.lines = of.lines()
        #: what must be among the faults
        self.expected: list[Callable[[Fault], bool]] = []

    def partition(self) -> tuple[str, int]:
        return self.chance.choice(
            [one for one in self.log.records_of if one[0] != CHECKPOINTS and len(self.log.records_of[one]) > 5]
        )

    def pick(self) -> tuple[list[Record], int]:
        """A partition's records, and which of them."""
        records = self.log.records_of[self.partition()]
        return records, self.chance.randrange(len(records))

    def expect(self, place: Place, missing: tuple[tuple[int, int], ...] | None = None) -> None:
        def found(fault: Fault) -> bool:
            there = fault.place == f"{place.topic}/{place.partition}" and fault.first is not None and fault.end is not None
            return there and fault.first <= place.offset < fault.end and missing in (None, fault.missing)  # type: ignore[operator]

        self.expected.append(found)

    def change(self, **more: object) -> None:
        records, at = self.pick()
        self.expect(records[at].place)
        records[at] = replace(records[at], **more)  # type: ignore[arg-type]

    def edit_value(self) -> None:
        records, at = self.pick()
        self.expect(records[at].place)
        value = bytearray(records[at].value)
        value[self.chance.randrange(len(value))] ^= 1 << self.chance.randrange(8)
        records[at] = replace(records[at], value=bytes(value))

    def edit_key(self) -> None:
        self.change(key=b"somebody else")

    def edit_header(self) -> None:
        self.change(headers=(("ce_type", b"forged"),))

    def edit_timestamp(self) -> None:
        records, at = self.pick()
        self.expect(records[at].place)
        records[at] = replace(records[at], timestamp=records[at].timestamp + timedelta(milliseconds=self.chance.choice([-1, 1])))

    def delete(self) -> None:
        """Its offset stays empty."""
        records, at = self.pick()
        place = records.pop(at).place
        self.expect(place, ((place.offset, place.offset),))

    def delete_and_close_up(self) -> None:
        """Those behind it move up by one."""
        records, at = self.pick()
        self.expect(records.pop(at).place)
        self._renumber(records)

    def reorder(self) -> None:
        records, at = self.pick()
        other = self.chance.choice([one for one in range(len(records)) if one != at])
        one, two = records[at], records[other]
        records[at], records[other] = replace(two, place=one.place), replace(one, place=two.place)
        self.expect(one.place)
        self.expect(two.place)

    def truncate(self) -> None:
        records, at = self.pick()
        place, last = records[at].place, records[-1].place
        del records[at:]
        self._end(place, place.offset)
        self.expect(place, ((place.offset, last.offset),))

    def truncate_and_write_on(self) -> None:
        """As long as it was, by other records."""
        records, at = self.pick()
        self.expect(records[at].place)
        records[at:] = [replace(one, value=b"made up") for one in records[at:]]

    def splice(self) -> None:
        """A record of another partition is put in; those behind it move on."""
        records, at = self.pick()
        foreign = self.chance.choice([one for one in self.log.records_of.values() if one and one is not records])[0]
        place = records[at].place
        records.insert(at, replace(foreign, place=place))
        self._renumber(records)
        self.expect(place)

    def replace_by_another(self) -> None:
        records, at = self.pick()
        foreign = self.chance.choice([one for one in self.log.records_of.values() if one and one is not records])[0]
        self.expect(records[at].place)
        records[at] = replace(foreign, place=records[at].place)

    def _renumber(self, records: list[Record]) -> None:
        records[:] = [replace(one, place=replace(one.place, offset=offset)) for offset, one in enumerate(records)]
        self._end(records[0].place, len(records))

    def _end(self, place: Place, end: int) -> None:
        span = self.log.spans_of[place.topic, place.partition]
        self.log.spans_of[place.topic, place.partition] = Span(span.topic, span.partition, span.first, end)

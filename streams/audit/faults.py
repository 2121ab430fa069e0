"""What does not fit: a place, and what is wrong there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

#: (first, last) of each run of offsets
Runs = tuple[tuple[int, int], ...]
Kind = Literal["changed", "removed", "gone", "vanished", "shortened", "unreadable", "uncovered", "checkpoint"]


@dataclass(frozen=True, slots=True)
class Fault:
    """`changed`: records from `first` up to `end`, and not with it, are not those that were chained; `removed`: the log ends before
    they do, and what is left of them cannot be verified; `gone`: neither log nor archive has them; `vanished`: they were gone
    before they were chained; `shortened`: the log was shorter than what had been signed; `unreadable`: an archive says so;
    `uncovered`: only the archive has them, and no checkpoint tells of them;
    `checkpoint`: it is about a checkpoint. `place`: TOPIC/PARTITION, or that of the checkpoint. `between`: numbers of the two
    checkpoints that it lies between (0: the beginning). `missing`: offsets that are not there, the first and the last of each run.
    `copy`: which one it is about, where broker and archive both have one and do not have the same fault."""

    kind: Kind
    place: str
    what: str
    first: int | None = None
    end: int | None = None
    between: tuple[int, int] | None = None
    missing: Runs = ()
    copy: str = ""

    def line(self) -> str:
        where = f"{self.place} {self.copy}".rstrip()
        if self.first is not None and self.end is not None:
            where += f" offsets {told(((self.first, self.end - 1),))}"
        if self.between is not None:
            where += f" (between checkpoints {self.between[0]} and {self.between[1]})"
        gone = f"; missing: {told(self.missing)}" if self.missing else ""
        return f"{where}: {self.what}{gone}"

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "kind": self.kind,
            "place": self.place,
            "what": self.what,
            "first": self.first,
            "end": self.end,
            "between": None if self.between is None else list(self.between),
            "missing": [list(run) for run in self.missing],
            "copy": self.copy,
        }


def runs(numbers: Iterable[int]) -> Runs:
    """Of numbers in ascending order."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return tuple(found)


def told(found: Runs) -> str:
    """As people write them: 3, 7-9."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found) or "none"


def merged(faults: Iterable[Fault]) -> list[Fault]:
    """Neighbours that say the same as one."""
    found: list[Fault] = []
    for fault in faults:
        before = found[-1] if found else None
        if (
            before is not None
            and (before.kind, before.place, before.what, before.copy) == (fault.kind, fault.place, fault.what, fault.copy)
            and before.end is not None
            and before.end == fault.first
            and before.between is not None
            and fault.between is not None
        ):
            between = before.between[0], fault.between[1]
            found[-1] = replace(before, end=fault.end, between=between, missing=_joined(before.missing, fault.missing))
        else:
            found.append(fault)
    return found


def _joined(before: Runs, behind: Runs) -> Runs:
    if before and behind and before[-1][1] + 1 == behind[0][0]:
        return (*before[:-1], (before[-1][0], behind[0][1]), *behind[1:])
    return before + behind

"""The ORC/OBR groups of order and result messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.hl7v2.message import Segment


@dataclass(slots=True)
class Group:
    """An ORC, its OBR and what follows; either may be absent. `pid` is the PID that stands before it: an ORU^R01 may hold
    several patients. `shares_orc`: a further OBR under one ORC."""

    pid: Segment | None
    orc: Segment | None = None
    obr: Segment | None = None
    shares_orc: bool = False
    following: list[Segment] = field(default_factory=list)

    def first(self, name: str) -> Segment | None:
        return next((segment for segment in self.following if segment.name == name), None)

    def places(self, number: int) -> tuple[tuple[Segment | None, int], tuple[Segment | None, int]]:
        """Where an order number stands: in ORC and OBR alike (v2.5.1 4.5.1.2); under a shared ORC the OBR knows better."""
        orc, obr = (self.orc, number), (self.obr, number)
        return (obr, orc) if self.shares_orc else (orc, obr)


def groups_of(segments: Sequence[Segment]) -> list[Group]:
    """ORC begins a group, and so does an OBR that has none of its own. A TQ1 between ORC and OBR belongs to the group
    (OMI, OMG: 4.4.6). A PID ends the group before it; what stands before the first group belongs to none."""
    groups: list[Group] = []
    pid: Segment | None = None
    current: Group | None = None
    for segment in segments:
        if segment.name == "PID":
            pid, current = segment, None
        elif segment.name == "ORC":
            current = Group(pid, orc=segment)
            groups.append(current)
        elif segment.name == "OBR" and (current is None or current.obr is not None):
            current = Group(pid, orc=current.orc if current else None, obr=segment, shares_orc=current is not None)
            groups.append(current)
        elif current is not None:
            if segment.name == "OBR":
                current.obr = segment
            else:
                current.following.append(segment)
    return groups

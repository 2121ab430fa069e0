"""The ORC/OBR groups of order and result messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.hl7v2.message import Segment
from schemas.hl7v2.paths import Place


@dataclass(slots=True)
class Group:
    """An ORC, its OBR and what follows; either may be absent. `pid` is the PID that stands before it: an ORU^R01 may hold
    several patients. `shares_orc`: a further OBR under one ORC. `shared`: what stands before the first group and is meant for
    all of them."""

    pid: Segment | None
    orc: Segment | None = None
    obr: Segment | None = None
    shares_orc: bool = False
    following: list[Segment] = field(default_factory=list)
    shared: list[Segment] = field(default_factory=list)

    def segment(self, name: str) -> Segment | None:
        """The first of this name that speaks of this group."""
        if name == "ORC":
            return self.orc
        if name == "OBR":
            return self.obr
        if name == "PID":
            return self.pid
        for segments in (self.following, self.shared):
            for segment in segments:
                if segment.name == name:
                    return segment
        return None

    def in_order(self, places: Sequence[Place]) -> Sequence[Place]:
        """Under a shared ORC the OBR knows better."""
        return sorted(places, key=lambda place: place.value.segment == "ORC") if self.shares_orc else places


def groups_of(segments: Sequence[Segment]) -> list[Group]:
    """ORC begins a group, and so does an OBR that has none of its own. A TQ1 between ORC and OBR belongs to the group
    (OMI, OMG: 4.4.6). A PID ends the group before it. What stands before the first PID is shared by all groups, what stands
    between a PID and its first group by those of that patient, one ZDS at the end by all (IHE RAD TF-2 4.4.4.1.2.6)."""
    groups: list[Group] = []
    pid: Segment | None = None
    shared = of_message = list[Segment]()
    current: Group | None = None
    for segment in segments:
        name = segment.name
        if name == "PID":
            of_message = shared if pid is None else of_message
            pid, current, shared = segment, None, list(of_message)
        elif name == "ORC":
            current = Group(pid, orc=segment, shared=shared)
            groups.append(current)
        elif name == "OBR" and (current is None or current.obr is not None):
            orc = current.orc if current else None
            current = Group(pid, orc=orc, obr=segment, shares_orc=current is not None, shared=shared)
            groups.append(current)
        elif current is None:
            shared.append(segment)
        elif name == "OBR":
            current.obr = segment
        else:
            current.following.append(segment)
    zds = [segment for segment in segments if segment.name == "ZDS"]
    if len(groups) > 1 and len(zds) == 1:
        for group in groups:
            group.shared = [*group.shared, zds[0]]
    return groups

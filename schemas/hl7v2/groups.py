"""The ORC/OBR groups of order and result messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.hl7v2.message import Segment
from schemas.hl7v2.paths import Place

#: table 0396: our own coding system. What is coded in it is what the AI said, and comes back to us when a site routes it so
OWN = "99RADSTREAM"


@dataclass(slots=True)
class Group:
    """An ORC, its OBR and what follows; either may be absent. `pid` is the PID that stands before it: an ORU^R01 may hold
    several patients. `shares_orc`: a further OBR under one ORC. `shared`: the first segment of each name before the
    first group, of the message and of this patient."""

    pid: Segment | None
    orc: Segment | None = None
    obr: Segment | None = None
    shares_orc: bool = False
    following: list[Segment] = field(default_factory=list)
    shared: Sequence[dict[str, Segment]] = ()

    def segment(self, name: str) -> Segment | None:
        """The first of this name that speaks of this group."""
        if name == "ORC":
            return self.orc
        if name == "OBR":
            return self.obr
        if name == "PID":
            return self.pid
        for segment in self.following:
            if segment.name == name:
                return segment
        return next((segments[name] for segments in self.shared if name in segments), None)

    @property
    def ours(self) -> bool:
        """OBR-4 is our own code, alone or beside another (CE, 2.A.11): no order and no report of anybody's."""
        return self.obr is not None and OWN in (self.obr.value(4, 3), self.obr.value(4, 6))

    def in_order(self, places: Sequence[Place]) -> Sequence[Place]:
        """Under a shared ORC the OBR knows better."""
        return sorted(places, key=lambda place: place.value.segment == "ORC") if self.shares_orc else places


def groups_of(segments: Sequence[Segment]) -> list[Group]:
    """ORC begins a group, and so does an OBR that has none of its own. A TQ1 between ORC and OBR belongs to the group
    (OMI, OMG: 4.4.6). A PID ends the group before it. What stands before the first PID is shared by all groups, what stands
    between a PID and its first group by those of that patient, one ZDS at the end by all (IHE RAD TF-2 4.4.4.1.2.6)."""
    groups: list[Group] = []
    pid: Segment | None = None
    of_message: dict[str, Segment] = {}
    of_patient: dict[str, Segment] = {}
    current: Group | None = None
    for segment in segments:
        name = segment.name
        if name == "PID":
            pid, current, of_patient = segment, None, {}
        elif name == "ORC":
            current = Group(pid, orc=segment, shared=(of_message, of_patient))
            groups.append(current)
        elif name == "OBR" and (current is None or current.obr is not None):
            orc = current.orc if current else None
            current = Group(pid, orc=orc, obr=segment, shares_orc=current is not None, shared=(of_message, of_patient))
            groups.append(current)
        elif current is None:
            (of_patient if pid else of_message).setdefault(name, segment)
        elif name == "OBR":
            current.obr = segment
        else:
            current.following.append(segment)
    zds = [segment for segment in segments if segment.name == "ZDS"]
    if len(groups) > 1 and len(zds) == 1:
        for group in groups:
            group.shared = (*group.shared, {"ZDS": zds[0]})
    return groups

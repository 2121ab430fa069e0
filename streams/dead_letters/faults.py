"""Where the reason of a dead letter says that the fault is: a field, a group, a byte."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.hl7v2.groups import groups_of
from schemas.hl7v2.message import Message, Segment

#: as errors of messages name it: "PID-3.1", "ORC-1 of group 2", "MSH", "group 2"
_FIELD = re.compile(r"(?P<segment>[A-Z][A-Z0-9]{2})(?:-(?P<field>\d+)(?:\.(?P<component>\d+))?)?(?: of group (?P<group>\d+))?")
_GROUP = re.compile(r"group (?P<group>\d+)")
_OFFSET = re.compile(r"\bat offset (\d+)\b")


@dataclass(frozen=True, slots=True)
class Fault:
    """`group`: of ORC and OBR, from 1. `offset`: of a byte in the value, from 0."""

    segment: str | None = None
    field: int | None = None
    component: int | None = None
    group: int | None = None
    offset: int | None = None

    @property
    def place(self) -> str:
        field = "" if self.field is None else f"-{self.field}"
        return f"{self.segment or ''}{field}" + ("" if self.component is None else f".{self.component}")


def fault_of(reason: str) -> Fault:
    reference = reason.partition(": ")[0]
    found = _FIELD.fullmatch(reference) or _GROUP.fullmatch(reference)
    said = {} if found is None else found.groupdict()
    numbers = {name: int(said[name]) for name in ("field", "component", "group") if said.get(name)}
    at = _OFFSET.search(reason)
    return Fault(said.get("segment"), offset=None if at is None else int(at[1]), **numbers)


def faulty(message: Message, fault: Fault) -> Sequence[Segment]:
    """The segments that are meant: none when that one is not there."""
    groups = groups_of(message.segments)
    if fault.group is not None and fault.group <= len(groups):
        group = groups[fault.group - 1]
        if fault.segment is None:
            return [one for one in (group.orc, group.obr) if one is not None]
        found = group.segment(fault.segment)
        return [] if found is None else [found]
    named = [] if fault.segment is None else list(message.all(fault.segment))
    if fault.offset is not None and fault.field is not None:
        at = [one for one in named if message.undecodable_in(one, fault.field) == fault.offset]
        named = at or named
    return named[:1]

"""The segments of a message against the abstract syntax of its structure (HL7 v2.5.1 2.13): which are missing, which are where
none is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: one message is not worth more than this many
_MOST = 20


def misplaced(names: Sequence[str], structure: Any) -> list[tuple[int, str]]:
    """`structure`: a message of hl7apy's. For each fault the index in `names` and the name that is missing there, or "" where
    the segment itself is one too many. A fault is mended, and the rest read on, in the way that gets furthest."""
    faults: list[tuple[int, str]] = []
    left = list(enumerate(names))
    reached, required = _reach(left, structure)
    while reached is not None and len(faults) < _MOST:
        before, rest = left[:reached], left[reached:]
        index = rest[0][0] if rest else len(names)
        ways = [("", [*before, *rest[1:]])] if rest else []
        ways += [(name, [*before, (index, name), *rest]) for name in sorted(required)]
        missing, left = max(ways, key=lambda way: _progress(way[1], structure, made_up=bool(way[0])))
        faults.append((index, missing))
        reached, required = _reach(left, structure)
    return faults


def _progress(way: Sequence[tuple[int, str]], structure: Any, *, made_up: bool) -> tuple[bool, int]:
    """How many of the message's own segments then stand right."""
    reached, _ = _reach(way, structure)
    return (True, 0) if reached is None else (False, reached - made_up)


def _reach(segments: Sequence[tuple[int, str]], structure: Any) -> tuple[int | None, frozenset[str]]:
    """How many of the segments, from the first, stand as they may (None: all, and none is missing), and which must stand next."""
    walk = _Walk([name for _, name in segments])
    if len(segments) in walk.children(structure, 0, needed=True):
        return None, frozenset()
    return walk.furthest, frozenset(walk.required)


class _Walk:
    """All ways through a structure at once: a node and a place to start give the places where it may end."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.furthest = 0
        self.required: set[str] = set()
        self._memory: dict[tuple[int, int, bool], frozenset[int]] = {}

    def children(self, reference: Any, at: int, *, needed: bool) -> frozenset[int]:
        """`needed`: the message is wrong without them."""
        if reference[0] == "choice":
            return frozenset[int]().union(*(self._repeated(child, at, needed) for child in reference[1]))
        ends = frozenset({at})
        for child in reference[1]:  # of a group that has begun, the rest is needed
            ends = frozenset[int]().union(*(self._repeated(child, end, needed or end > at) for end in ends))
        return ends

    def _repeated(self, node: Any, at: int, needed: bool) -> frozenset[int]:
        least, most = node[2]
        ends = {at} if least == 0 else set[int]()
        starts, count = {at}, 0
        while starts and (most == -1 or count < most):
            found = set[int]().union(*(self._once(node, start, needed and count < least) for start in starts))
            count += 1
            starts = found - ends
            if count >= least:
                ends |= found
        return frozenset(ends)

    def _once(self, node: Any, at: int, needed: bool) -> frozenset[int]:
        name, reference, _, kind = node
        if kind != "SEG":
            key = (id(node), at, needed)
            if key not in self._memory:
                self._memory[key] = self.children(reference, at, needed=needed)
            return self._memory[key]
        if at < len(self.names) and self.names[at] == name:
            return frozenset({at + 1})
        if at > self.furthest:
            self.furthest, self.required = at, set()
        if at == self.furthest and needed:
            self.required.add(name)
        return frozenset()

"""Rule 3: everything that tells of a case holds the locks of all that it looked up. What one record looks up another one finds
it by, so of two that concern each other the second sees what the first one wrote."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from schemas.case_store import CaseStore, Correlation, OrderNumber
from schemas.identifiers import PatientIdentifier, StudyInstanceUID

Keys = frozenset[str]
_T = TypeVar("_T")
Work = Callable[[Correlation, Keys], Awaitable[_T]]


class _MoreLocks(Exception):
    """What was read shows that other cases are concerned too."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys


def keys_of(*concerned: Iterable[OrderNumber | PatientIdentifier | StudyInstanceUID | None]) -> Keys:
    """The names of the locks."""
    return frozenset(_key(one) for some in concerned for one in some if one is not None)


def cover(rows: Correlation, locked: Keys, needed: Keys) -> None:
    """To be called after reading and before deciding."""
    if not rows.locks_everything and not needed <= locked:
        raise _MoreLocks(needed)


async def serialised(cases: CaseStore, keys: Keys, work: Work[_T]) -> _T:
    """`work` in one transaction that holds the locks. Which ones it needs is known only after reading; where they turn out to
    be more, the transaction is rolled back and begun again with all of them. The set only grows, so this ends; they are taken
    in sorted order, so nobody deadlocks."""
    while True:
        try:
            async with cases.correlation(*sorted(keys)) as rows:
                return await work(rows, keys)
        except _MoreLocks as more:
            keys |= more.keys


def _key(one: OrderNumber | PatientIdentifier | StudyInstanceUID) -> str:
    value = one if isinstance(one, StudyInstanceUID) else one.text
    return f"{type(one).__name__} {value}"

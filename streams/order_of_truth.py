"""Which of two words is the newer one (rule 8): within one sender its own time, then MSH-13, then arrival; across senders
no times are compared, there arrival decides. All functions take words in order of first arrival."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from schemas.events import Sender

Rank = tuple[datetime, int, int]


class Word(Protocol):
    """Something that a sender said."""

    @property
    def sender(self) -> Sender: ...


_W = TypeVar("_W", bound=Word)


def by_sender(words: Sequence[_W]) -> dict[str, list[tuple[Rank, _W]]]:
    """The words of each sender, its oldest first."""
    found: dict[str, list[tuple[Rank, _W]]] = {}
    for arrival, word in enumerate(words):
        sender = word.sender
        rank = (sender.occurred_at, -1 if sender.sequence_number is None else sender.sequence_number, arrival)
        found.setdefault(sender.key, []).append((rank, word))
    return {key: sorted(said, key=lambda item: item[0]) for key, said in found.items()}


def last_words(words: Sequence[_W]) -> list[_W]:
    """The newest word of each sender, in order of arrival."""
    newest = [said[-1] for said in by_sender(words).values()]
    return [word for rank, word in sorted(newest, key=lambda item: item[0][2])]


def newest_first(words: Sequence[_W], about: Callable[[_W], Collection[Hashable]]) -> list[_W]:
    """All words of all senders in one line. A late, older word stands where it should have come: just before what its sender
    had said since, and that had arrived, about any of the same things, or of what other words of its join with these."""
    placed: list[tuple[int, Rank, _W]] = []
    for said in by_sender(words).values():
        subject_of = _subjects([about(word) for _, word in said])
        earliest: dict[Hashable, int] = {}
        for rank, word in reversed(said):
            subject = subject_of[next(iter(about(word)))]
            earliest[subject] = arrived = min(rank[2], earliest.get(subject, rank[2]))
            placed.append((arrived, rank, word))
    placed.sort(key=lambda item: (item[0], item[1]), reverse=True)
    return [word for _, _, word in placed]


def _subjects(named: Sequence[Collection[Hashable]]) -> dict[Hashable, Hashable]:
    """One thing that stands for all that are named together, directly or by way of others."""
    parent: dict[Hashable, Hashable] = {thing: thing for things in named for thing in things}

    def root(thing: Hashable) -> Hashable:
        while parent[thing] != thing:
            parent[thing] = thing = parent[parent[thing]]
        return thing

    for things in named:
        first, *others = things
        for other in others:
            parent[root(other)] = root(first)
    return {thing: root(thing) for thing in parent}

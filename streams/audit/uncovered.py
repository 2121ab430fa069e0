"""What stands in the archive, and no checkpoint covers: everybody reads it, and nobody can say that it was ever received."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from schemas.errors import TopicMissing
from schemas.history import History, Span
from streams.audit.chains import chains
from streams.audit.faults import Fault
from streams.audit.series import Series

#: TOPIC, PARTITION
Partition = tuple[str, int]
#: of a topic what is archived, by partition and offset: parts without gaps
Kept = Callable[[str], Awaitable[Sequence[Span]]]

_BEFORE = (
    "are in the archive, and no checkpoint covers them: they are older than the notary, or signed under another key "
    "(--public-key), or somebody put them in"
)
_NEVER = "are in the archive, and the broker never had this partition: somebody put them in"

_UNSIGNED = "is archived, and no checkpoint covers it: not verified"


async def spans_of(live: History, topics: Iterable[str]) -> dict[str, dict[int, Span]]:
    """What the broker has of each topic that it has. Raises BrokerUnavailable."""
    found = {}
    for topic in topics:
        try:
            found[topic] = {span.partition: span for span in await live.spans(topic)}
        except TopicMissing:
            continue
    return found


async def uncovered(
    kept: Kept, live: History, before: Mapping[str, Mapping[int, Span]], of: Sequence[Series], topics: Sequence[str]
) -> list[Fault]:
    """`before`: what the broker had when the checkpoints were read: what came since is archived and signed in its time. Raises
    BrokerUnavailable, ObjectStoreUnavailable."""
    archived = [span for topic in topics for span in await kept(topic)]
    now = await spans_of(live, topics)  # after it: what is archived was on the broker before
    signed = _signed(of)
    faults = []
    for span in archived:
        of_topic = now.get(span.topic, {})
        there = of_topic.get(span.partition)
        covered = signed.get((span.topic, span.partition), [])
        if there is not None:
            first = before.get(span.topic, {}).get(span.partition, there).first
            not_yet = max([first, *(one.end for one in covered)])
            covered = [*covered, replace(span, first=min(not_yet, there.end), end=there.end)]
        what = _NEVER if of_topic and there is None else _BEFORE
        for lacking in _without(span, covered):
            place = f"{span.topic}/{span.partition}"
            faults.append(Fault("uncovered", place, what, lacking.first, lacking.end))
    return faults


async def unsigned(kept: Kept, topics: Iterable[str]) -> list[Fault]:
    """`topics`: those that are archived and that no notary signs. Raises ObjectStoreUnavailable."""
    return [Fault("uncovered", topic, _UNSIGNED) for topic in topics if await kept(topic)]


def _signed(of: Sequence[Series]) -> dict[Partition, list[Span]]:
    """From where to where each chain goes."""
    found: dict[Partition, list[Span]] = {}
    for series in of:
        for partition, of_partition in chains(series).items():
            found.setdefault(partition, []).extend(Span(*partition, one[0].first, one[-1].end) for one in of_partition)
    return found


def _without(span: Span, taken: Iterable[Span]) -> Iterator[Span]:
    at = span.first
    for one in sorted(taken, key=lambda one: one.first):
        if at < min(one.first, span.end):
            yield replace(span, first=at, end=min(one.first, span.end))
        at = max(at, one.end)
    if at < span.end:
        yield replace(span, first=at)

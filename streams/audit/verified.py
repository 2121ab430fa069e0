"""All that `radstream audit verify` looks at: the checkpoints of topic and file, and the log under them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from schemas.errors import StoreUnavailable, TopicMissing
from schemas.history import History, Span
from schemas.ports import Record
from streams import topics
from streams.audit.chains import length
from streams.audit.faults import Fault, merged
from streams.audit.notary import NOTARISED
from streams.audit.series import Series, Source, joined
from streams.audit.signing import Keys
from streams.audit.standing import entries_of, entry_of, unfinished
from streams.audit.uncovered import spans_of, uncovered, unsigned
from streams.audit.verifying import Copy, Proven, Tell, Verified, verify_records

#: given the number of offsets to come, what is told of them
Progress = Callable[[int], AbstractContextManager[Tell]]


@dataclass(frozen=True, slots=True)
class Sources:
    """Files with checkpoints, beside the topic. `copies`: they were copied some time ago and may lack what was signed since."""

    files: Sequence[Path]
    copies: bool = False


@dataclass(slots=True)
class Told:
    """`later`: per TOPIC/PARTITION how many offsets are behind the last checkpoint, of which nothing is said. `notes`: what a
    person should know and need not be anybody's doing."""

    checkpoints: int = 0
    proven: list[Proven] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    later: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        return not self.faults

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "well": self.well,
            "checkpoints": self.checkpoints,
            "faults": [fault.plain() for fault in self.faults],
            "verified": [one.plain() for one in self.proven],
            "not_signed_yet": self.later,
            "notes": self.notes,
        }


async def verify(
    live: History, sources: Sources, keys: Keys, progress: Progress = lambda _: nullcontext(_nobody), *, archive: Copy | None = None
) -> Told:
    """`live`: the broker's; `archive`: likewise, with what is archived in its place, for then both are verified. Raises
    BrokerUnavailable, ObjectStoreUnavailable, StoreUnavailable (a file)."""
    told = Told()
    copies = [Copy(live)] if archive is None else [archive, Copy(live, behind=archive)]
    notarised = [topic.name for topic in NOTARISED]
    before = await spans_of(live, notarised) if archive is not None else {}
    all_series = await _checkpoints(copies[0].history, live, sources, keys, told)
    with progress(sum(map(length, all_series)) * len(copies)) as tell:
        done = 0
        for series in all_series:
            found = []
            for copy in copies:
                found.append(await verify_records(copy, series, _after(done, tell)))
                done += length(series)
            told.proven += found[0].proven if len(found) == 1 else _proven_of_both(*found)
            told.faults += merged(found[0].faults if len(found) == 1 else _of_both(*found))
            told.checkpoints += len(series)
    if archive is not None:
        told.faults += await uncovered(archive.kept, live, before, all_series, notarised)
        signed = {*notarised, topics.CHECKPOINTS.name}
        told.faults += await unsigned(archive.kept, sorted({*archive.whole} - signed))
    await _unsigned(copies[0].history, told)
    return told


def _after(done: int, tell: Callable[[int], None]) -> Callable[[int], None]:
    """Tells how much is done of one part as how much is done of all."""
    return lambda more: tell(done + more)


_ARCHIVE, _BROKER = "in the archive", "on the broker"


def _proven_of_both(archive: Verified, live: Verified) -> Iterator[Proven]:
    """What is the same of both is told once."""
    for of_archive, of_broker in zip(archive.proven, live.proven, strict=True):  # the same chains in the same order
        if of_archive == of_broker:
            yield of_archive
        else:
            yield from (replace(of_archive, copy=_ARCHIVE), replace(of_broker, copy=_BROKER))


def _of_both(archive: Verified, live: Verified) -> Iterator[Fault]:
    """What is wrong with both is told once."""
    for fault in archive.faults:
        differs = fault.kind in ("changed", "unreadable") and fault not in live.faults
        yield replace(fault, copy=_ARCHIVE) if differs and _reaches(live, fault) else fault
    for fault in live.faults:
        if fault not in archive.faults:
            yield replace(fault, copy=_BROKER)


def _reaches(live: Verified, fault: Fault) -> bool:
    """Whether the broker has that block too, or the end of it."""
    end = fault.end or 0
    return any(f"{one.topic}/{one.partition}" == fault.place and one.first < end <= one.end for one in live.proven)


def _nobody(_: int) -> None:
    pass


async def _checkpoints(history: History, live: History, sources: Sources, keys: Keys, told: Told) -> list[Series]:
    """The notary may be at work, and writes to the topic first: what the files hold before the topic is read must be there, and of
    what they get meanwhile nothing is said."""
    before = [await asyncio.to_thread(_looks, file) for file in sources.files]
    topic = Source(topics.CHECKPOINTS.name)
    async for record in _checkpoint_records(history, live):
        topic.add(entry_of(record), keys)
    name = ", ".join(map(str, sources.files))
    sizes = [size for size, _ in before]
    file, earlier, torn = await asyncio.to_thread(_read_files, name, sources.files, sizes, keys, topic)
    still = before == [await asyncio.to_thread(_looks, file) for file in sources.files]
    told.faults += [*topic.faults, *topic.disorder, *file.faults, *file.disorder]
    found = []
    for key in keys:
        known = max(topic.last.get(key, 0), earlier.get(key, 0))
        if file.last.get(key, 0) > known:
            file.series[key] = {number: one for number, one in file.of(key).items() if number <= known}
        both = joined(topic, file, key, older_copy=sources.copies)
        told.faults += both.faults
        if both.series:
            found.append(both.series)
        if both.behind:
            first, last = both.behind[0].checkpoint.number, both.behind[-1].checkpoint.number
            told.notes.append(f"{name}: lacks the last checkpoints, {first}-{last}: the notary writes them when it starts")
        if not sources.copies and len(before) == 1 and still:
            told.faults += unfinished(both, name, torn)
    if not found:
        told.faults.append(
            Fault("checkpoint", topics.CHECKPOINTS.name, "there is no checkpoint under this key: has the notary run?")
        )
    return found


async def _checkpoint_records(history: History, live: History) -> AsyncIterator[Record]:
    """Of the broker, and what only the archive has."""
    on_broker = {span.partition: span for span in await _spans(live, topics.CHECKPOINTS.name)}
    for span in await _spans(history, topics.CHECKPOINTS.name):
        last = on_broker.get(span.partition, Span(span.topic, span.partition, span.end, span.end))
        async for record in history.records(replace(span, end=max(span.first, last.first))):
            yield record
        async for record in live.records(last):
            yield record


async def _spans(history: History, topic: str) -> Sequence[Span]:
    """None of a topic that is not there."""
    try:
        return await history.spans(topic)
    except TopicMissing:
        return ()


def _looks(file: Path) -> tuple[int, int]:
    """Its size, and when it was changed; of none: zeros. Raises StoreUnavailable."""
    try:
        now = file.stat()
    except FileNotFoundError:
        return 0, 0
    except OSError as error:
        raise StoreUnavailable("audit", str(file), error.strerror or "cannot be read") from None
    return now.st_size, now.st_mtime_ns


def _read_files(
    name: str, files: Sequence[Path], sizes: Sequence[int], keys: Keys, topic: Source
) -> tuple[Source, dict[str, int], bytes]:
    """Line by line, for there are millions. The highest number of each key that began before `sizes`; what stands behind the last
    line end of the last file. Raises StoreUnavailable."""
    source, earlier, torn = Source(name, repeats=False, opened=topic.opened), dict[str, int](), b""
    for file, size in zip(files, sizes, strict=True):
        at, torn = 0, b""
        for entry in entries_of(str(file), _lines(file)):
            if not entry.value.endswith(b"\n"):
                torn = entry.value
                break
            checkpoint = source.add(replace(entry, value=entry.value[:-1]), keys)
            if checkpoint is not None and at < size:
                earlier[checkpoint.key] = max(checkpoint.number, earlier.get(checkpoint.key, 0))
            at += len(entry.value)
    return source, earlier, torn


def _lines(file: Path) -> Iterator[bytes]:
    """With their ends; the last one may have none. No file: no lines. Raises StoreUnavailable."""
    try:
        with file.open("rb") as opened:
            yield from opened
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreUnavailable("audit", str(file), error.strerror or "cannot be read") from None


async def _unsigned(history: History, told: Told) -> None:
    """What is behind the last checkpoint of each partition, and no fault."""
    ends: dict[tuple[str, int], int] = {}
    for one in told.proven:
        ends[one.topic, one.partition] = max(one.end, ends.get((one.topic, one.partition), 0))
    for topic in NOTARISED:
        for span in await _spans(history, topic.name):
            place, end = f"{topic.name}/{span.partition}", max(span.first, ends.get((topic.name, span.partition), 0))
            later = span.end - end - sum(_behind(end, fault) for fault in told.faults if fault.place == place)
            if later > 0:
                told.later[place] = later


def _behind(end: int, fault: Fault) -> int:
    """Offsets of what is uncovered."""
    return max(0, (fault.end or 0) - max(end, fault.first or 0)) if fault.kind == "uncovered" else 0

"""What topic and file say together: the checkpoints under one key are one series, numbered from 1, each naming the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from sys import intern

from schemas.checkpoints import CheckpointSigned
from schemas.errors import MalformedMessage
from streams.audit.chain import Chain
from streams.audit.faults import Fault, runs, told
from streams.audit.signing import Keys, opened

#: `previous` of the first
NONE_BEFORE = "0" * 64


@dataclass(frozen=True, slots=True)
class Entry:
    """Something on the topic, or a line of the file; `where` (TOPIC/PARTITION/ or FILE:) and `number` are its place. `key`: of its
    record; None: a line has none."""

    where: str
    number: int
    value: bytes
    key: bytes | None = None

    @property
    def place(self) -> str:
        return f"{self.where}{self.number}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is kept of one, for there are millions of them. `head`: of the chain; `digest`: of its value; `previous`: of that of the
    one before."""

    topic: str
    partition: int
    first: int
    end: int
    records: int
    head: bytes
    number: int
    digest: bytes
    previous: bytes
    key: str
    time: datetime

    @classmethod
    def of(cls, signed: CheckpointSigned, digest: bytes) -> Checkpoint:
        """`digest`: of its value."""
        return cls(
            topic=intern(signed.topic),
            partition=signed.partition,
            first=signed.first,
            end=signed.end,
            records=signed.end if signed.records == signed.end else signed.records,
            head=bytes.fromhex(signed.chain),
            number=signed.number,
            digest=digest,
            previous=bytes.fromhex(signed.previous),
            key=intern(signed.key),
            time=signed.time,
        )

    @property
    def chain(self) -> Chain:
        return Chain(self.first, self.end, self.records, self.head)


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint, and where it stands: as in `Entry`."""

    where: str
    at: int
    checkpoint: Checkpoint

    @property
    def place(self) -> str:
        return f"{self.where}{self.at}"


#: by number; of one key
Series = Mapping[int, Signed]


@dataclass(slots=True)
class Source:
    """What one of the two holds, by key. `repeats`: the same may stand there again, for who appends repeats what was not
    confirmed."""

    name: str
    repeats: bool = True
    series: dict[str, dict[int, Signed]] = field(default_factory=dict)
    #: of what is no checkpoint under these keys
    faults: list[Fault] = field(default_factory=list)
    #: of checkpoints that stand where they should not
    disorder: list[Fault] = field(default_factory=list)
    #: the highest number under each key so far
    last: dict[str, int] = field(default_factory=dict)
    #: values of those signed at the same time as that one, by key and number: of all others they are not kept
    values: dict[str, dict[int, bytes]] = field(default_factory=dict)
    #: keys after whose first checkpoint something stands that is none of theirs
    mixed: set[str] = field(default_factory=set)
    #: by digest: what was opened once need not be opened again, for signatures take their time
    opened: dict[bytes, Checkpoint] = field(default_factory=dict)

    def of(self, key: str) -> Series:
        return self.series.get(key, {})

    def add(self, entry: Entry, keys: Keys) -> Checkpoint | None:
        """The next that stands there; None: it is no checkpoint under these keys."""
        try:
            checkpoint = self._opened(entry, keys)
        except MalformedMessage as error:
            self.faults.append(Fault("checkpoint", entry.place, error.reason))
            self.mixed |= set(self.series)
            return None
        key, number = checkpoint.key, checkpoint.number
        series, last = self.series.setdefault(key, {}), self.last.get(key, 0)
        before = series.get(number)
        if before is None:
            if number < last:
                self.disorder.append(Fault("checkpoint", entry.place, f"checkpoint {number} stands behind {last}"))
            self._keep(checkpoint, entry.value)
            series[number] = Signed(entry.where, entry.number, checkpoint)
        elif before.checkpoint.digest != checkpoint.digest:
            said = f"a second checkpoint {number}, beside {before.place}: two notaries wrote, or somebody has the key"
            self.disorder.append(Fault("checkpoint", entry.place, said))
        elif not self.repeats:
            self.disorder.append(Fault("checkpoint", entry.place, f"checkpoint {number} stands there twice"))
        return checkpoint

    def _keep(self, checkpoint: Checkpoint, value: bytes) -> None:
        last = self.last.get(checkpoint.key, 0)
        if last and self.series[checkpoint.key][last].checkpoint.time == checkpoint.time:
            self.values[checkpoint.key][checkpoint.number] = value
        elif checkpoint.number > last:
            self.values[checkpoint.key] = {checkpoint.number: value}
        self.last[checkpoint.key] = max(last, checkpoint.number)

    def _opened(self, entry: Entry, keys: Keys) -> Checkpoint:
        digest = sha256(entry.value).digest()
        checkpoint = self.opened.get(digest)
        if checkpoint is None:
            checkpoint = self.opened[digest] = Checkpoint.of(opened(entry.value, keys, entry.place), digest)
        if entry.key is not None and entry.key.decode("utf-8", "replace") != f"{checkpoint.topic}/{checkpoint.partition}":
            raise MalformedMessage("audit", entry.place, "has the key of another partition")
        return checkpoint


def read_source(name: str, entries: Iterable[Entry], keys: Keys, *, repeats: bool = True, beside: Source | None = None) -> Source:
    """`beside`: another source under the same keys, which holds mostly the same."""
    source = Source(name, repeats) if beside is None else Source(name, repeats, opened=beside.opened)
    for entry in entries:
        source.add(entry, keys)
    return source


@dataclass(frozen=True, slots=True)
class Joined:
    """The series of one key from both. `behind`: what only the topic has, at its end; `values` of those, of no `older_copy`."""

    series: Series
    behind: tuple[Signed, ...]
    values: tuple[bytes, ...]
    faults: tuple[Fault, ...]


def joined(topic: Source, file: Source, key: str, *, older_copy: bool = False, since: int = 1) -> Joined:
    """The file may lack the end of the topic's series: what was signed at one time, for the notary may have ended between the two;
    any end, when it is an `older_copy`. `since`: numbers before it were not read."""
    on_topic, in_file = _from(since, topic.of(key)), _from(since, file.of(key))
    series = on_topic if in_file.keys() <= on_topic.keys() else {**in_file, **on_topic}
    last = max(series, default=since - 1)
    behind = [on_topic[number] for number in range(max(in_file, default=since - 1) + 1, last + 1) if number in on_topic]
    kept = topic.values.get(key, {})
    if not older_copy and (
        len({one.checkpoint.time for one in behind}) > 1 or any(one.checkpoint.number not in kept for one in behind)
    ):
        behind = []
    values = () if older_copy else tuple(kept[one.checkpoint.number] for one in behind)
    faults = list(_lacking(topic.name, on_topic, range(since, last + 1)))
    faults += _lacking(file.name, in_file, range(since, last + 1 - len(behind)))
    differing = (
        number
        for number, one in in_file.items()
        if number in on_topic and on_topic[number].checkpoint.digest != one.checkpoint.digest
    )
    for number in sorted(differing):
        said = f"checkpoint {number} is another one than {on_topic[number].place}, and both are signed"
        faults.append(Fault("checkpoint", in_file[number].place, said))
    faults += _unlinked(series)
    return Joined(series, tuple(behind), values, tuple(faults))


def _from(since: int, series: Series) -> Series:
    return series if since == 1 else {number: one for number, one in series.items() if number >= since}


def _lacking(name: str, series: Series, numbers: range) -> Sequence[Fault]:
    lacking = [number for number in numbers if number not in series]
    return [Fault("checkpoint", name, f"lacks checkpoints {told(runs(lacking))}")] if lacking else []


def _unlinked(series: Series) -> Iterable[Fault]:
    for number in sorted(series):
        signed, before = series[number], series.get(number - 1)
        if before is not None or number == 1:
            expected = before.checkpoint.digest if before is not None else bytes.fromhex(NONE_BEFORE)
            if signed.checkpoint.previous != expected:
                yield Fault("checkpoint", signed.place, f"checkpoint {number} does not follow {number - 1}")

"""What topic and file say together: the checkpoints under one key are one series, numbered from 1, each naming the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from schemas.checkpoints import CheckpointSigned
from schemas.errors import MalformedMessage
from streams.audit.faults import Fault, runs, told
from streams.audit.signing import Keys, opened

#: `previous` of the first
NONE_BEFORE = "0" * 64


@dataclass(frozen=True, slots=True)
class Entry:
    """Something on the topic, or a line of the file. `place`: TOPIC/PARTITION/OFFSET, or FILE:LINE."""

    place: str
    value: bytes
    #: of its record; None: a line has none
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Signed:
    place: str
    value: bytes
    checkpoint: CheckpointSigned

    @property
    def digest(self) -> str:
        return sha256(self.value).hexdigest()


#: by number; of one key
Series = Mapping[int, Signed]


@dataclass(slots=True)
class Source:
    """What one of the two holds, by key."""

    name: str
    series: dict[str, dict[int, Signed]] = field(default_factory=dict)
    #: of what is no checkpoint under these keys
    faults: list[Fault] = field(default_factory=list)
    #: of checkpoints that stand where they should not
    disorder: list[Fault] = field(default_factory=list)
    #: the highest number under each key so far
    last: dict[str, int] = field(default_factory=dict)
    #: keys after whose first checkpoint something stands that is none of theirs
    mixed: set[str] = field(default_factory=set)
    #: by value: what was opened once need not be opened again, for signatures take their time
    opened: dict[bytes, CheckpointSigned] = field(default_factory=dict)

    def of(self, key: str) -> Series:
        return self.series.get(key, {})


def read_source(name: str, entries: Iterable[Entry], keys: Keys, *, repeats: bool = True, beside: Source | None = None) -> Source:
    """`repeats`: the same may stand there again, for who appends repeats what was not confirmed. `beside`: another source under the
    same keys, which holds mostly the same."""
    source = Source(name) if beside is None else Source(name, opened=beside.opened)
    for entry in entries:
        try:
            checkpoint = source.opened.get(entry.value) or opened(entry.value, keys, entry.place)
            source.opened[entry.value] = checkpoint
            if entry.key is not None and entry.key.decode("utf-8", "replace") != f"{checkpoint.topic}/{checkpoint.partition}":
                raise MalformedMessage("audit", entry.place, "has the key of another partition")
        except MalformedMessage as error:
            source.faults.append(Fault("checkpoint", entry.place, error.reason))
            source.mixed |= set(source.series)
            continue
        _add(source, Signed(entry.place, entry.value, checkpoint), repeats=repeats)
    return source


def _add(source: Source, signed: Signed, *, repeats: bool) -> None:
    key, number = signed.checkpoint.key, signed.checkpoint.number
    series, last = source.series.setdefault(key, {}), source.last.get(key, 0)
    source.last[key] = max(last, number)
    before = series.get(number)
    if before is None:
        if number < last:
            source.disorder.append(Fault("checkpoint", signed.place, f"checkpoint {number} stands behind {last}"))
        series[number] = signed
    elif before.value != signed.value:
        said = f"a second checkpoint {number}, beside {before.place}: two notaries wrote, or somebody has the key"
        source.disorder.append(Fault("checkpoint", signed.place, said))
    elif not repeats:
        source.disorder.append(Fault("checkpoint", signed.place, f"checkpoint {number} stands there twice"))


@dataclass(frozen=True, slots=True)
class Joined:
    """The series of one key from both. `behind`: what only the topic has, at its end."""

    series: Series
    behind: tuple[Signed, ...]
    faults: tuple[Fault, ...]


def joined(topic: Source, file: Source, key: str, *, older_copy: bool = False, since: int = 1) -> Joined:
    """The file may lack the end of the topic's series: what was signed at one time, for the notary may have ended between the two;
    any end, when it is an `older_copy`. `since`: numbers before it were not read."""
    on_topic, in_file = _from(since, topic.of(key)), _from(since, file.of(key))
    series = {number: (on_topic.get(number) or in_file[number]) for number in sorted({*on_topic, *in_file})}
    last = max(series, default=since - 1)
    behind = [on_topic[number] for number in range(max(in_file, default=since - 1) + 1, last + 1) if number in on_topic]
    if not older_copy and len({one.checkpoint.time for one in behind}) > 1:
        behind = []
    faults = list(_lacking(topic.name, on_topic, range(since, last + 1)))
    faults += _lacking(file.name, in_file, range(since, last + 1 - len(behind)))
    for number in sorted(set(on_topic) & set(in_file)):
        if on_topic[number].value != in_file[number].value:
            said = f"checkpoint {number} is another one than {on_topic[number].place}, and both are signed"
            faults.append(Fault("checkpoint", in_file[number].place, said))
    faults += _unlinked(series)
    return Joined(series, tuple(behind), tuple(faults))


def _from(since: int, series: Series) -> Series:
    return series if since == 1 else {number: one for number, one in series.items() if number >= since}


def _lacking(name: str, series: Series, numbers: range) -> Sequence[Fault]:
    lacking = [number for number in numbers if number not in series]
    return [Fault("checkpoint", name, f"lacks checkpoints {told(runs(lacking))}")] if lacking else []


def _unlinked(series: Series) -> Iterable[Fault]:
    for number, signed in series.items():
        before = series.get(number - 1)
        if before is not None or number == 1:
            expected = before.digest if before is not None else NONE_BEFORE
            if signed.checkpoint.previous != expected:
                yield Fault("checkpoint", signed.place, f"checkpoint {number} does not follow {number - 1}")

"""`radstream replay diff`: what a replay said against what was said then, read from the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from connectors.kafka_admin import topic_sizes
from schemas.acts import ReplayBegun
from schemas.errors import SettingsInvalid, TopicMissing
from schemas.history import History, Span
from schemas.ports import Place, Record
from streams import topics
from streams.across import across_gaps
from streams.audit.acts import Actor
from streams.audit.looks import about_to_see
from streams.clock import SystemClock
from streams.progress import progress
from streams.replay.changes import Tolerance
from streams.replay.diff_text import told
from streams.replay.differing import Diff, differences, failure_letters, failures, scores
from streams.replay.manifest import Manifest, ReplayFolder
from streams.replay.plan import Plan
from streams.replay.said import LANES, Key, Side, of_requests, until
from streams.settings import Settings
from streams.shadows.sandbox import Sandbox
from streams.wiring.clients import ensure_all_topics, history_for, log_for

#: of both sides, in this order: a text belongs to a state, a state to a request
_READ = (topics.RESULTS.name, topics.FINDINGS.name, *LANES, topics.DEAD_LETTERS.name)
_LIVE = "live"
_UNKNOWN = "unknown"
#: by which the clocks of those that write to the log may differ
_CLOCKS = timedelta(days=1)
_EPOCH = datetime(1970, 1, 2, tzinfo=UTC)
Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Compared:
    """A diff, and the two sides that it is of."""

    diff: Diff
    then: Side
    now: Side

    def places(self) -> Iterator[Place]:
        """What stands there of the studies that are named: states, and the dead letters of what was given up; and of the failures,
        for a timer that failed names its study."""
        yield from self.places_of(one.key for one in told(self.diff))
        yield from (letter.original.place for letter in failure_letters(self.then, self.now))

    def places_of(self, keys: Iterable[Key]) -> Iterator[Place]:
        """What was said of these on both sides."""
        for key in keys:
            for side in (self.then, self.now):
                if key in side.latest:
                    yield side.latest[key].record.place
                yield from (letter.original.place for letter in side.given_up(key))


async def to_be_shown(settings: Settings, who: Actor, name: str, against: str | None, tolerance: Tolerance) -> Diff:
    """It is on the audit who looks, when any study is named. Raises as `read_diff`."""
    found = await read_diff(settings, name, against, tolerance)
    if told(found.diff) or found.diff.failures:
        await asyncio.to_thread(ensure_all_topics, settings)
        async with log_for(settings) as log:
            await about_to_see(log, found.places(), "replay diff", who, SystemClock())
    return found.diff


async def read_diff(settings: Settings, name: str, against: str | None, tolerance: Tolerance) -> Compared:
    """`against`: another replay; None: what was said live. Raises SettingsInvalid (no such replay, the same one),
    BrokerUnavailable, RecordsRemoved."""
    if against == name:
        raise SettingsInvalid("replay diff", name, "compared with itself it never differs: --against another replay, or without it")
    manifest, other = _manifest(settings, name), None if against is None else _manifest(settings, against)
    live = {_LIVE: _READ} if against is None else {}
    wanted = {of: tuple(f"{Sandbox(of).key}.{topic}" for topic in _READ) for of in (name, *filter(None, (against,)))} | live
    every = [topic for several in wanted.values() for topic in several]
    sizes = await asyncio.to_thread(topic_sizes, settings.kafka.bootstrap, every)
    for of in (name, against):
        if of is not None and f"{Sandbox(of).key}.{topics.RESULTS.name}" not in sizes:
            raise SettingsInvalid("replay diff", of, "there is no such replay, or none that came to results: radstream replay list")
    there = {of: [topic for topic in several if topic in sizes] for of, several in wanted.items()}
    history = history_for(settings)
    spans = await to_be_read(history, there, manifest)
    with progress("reading", sum(len(span) for several in spans.values() for span in several)) as tell:
        return await compared(history, manifest, other, name, against, spans, tolerance, tell)


async def to_be_read(history: History, there: dict[str, list[str]], manifest: Manifest | None) -> dict[str, list[Span]]:
    """Of the topics of each side. Of the live ones only what can be about the replay, where its plan says since when that is.
    Raises BrokerUnavailable."""
    since = None if manifest is None else _since(manifest.plan, manifest.planned_at)
    found: dict[str, list[Span]] = {}
    for of, several in there.items():
        found[of] = []
        for topic in several:
            found[of] += await (history.spans(topic) if of != _LIVE or since is None else history.since(topic, since))
    return found


def _since(plan: Plan, planned_at: datetime) -> datetime | None:
    """Before it nothing was said live of what the plan reads: an answer comes after its request, and a case comes whole. None: of a
    stretch of messages nobody knows, for a study that is told again may have been answered long before; nor where a clock was
    ahead."""
    if plan.begins is None or plan.latest is None or plan.gone or plan.latest > planned_at:
        return None
    if plan.selection.start != "analyse" and plan.selection.kind != "cases":
        return None
    return max(plan.begins, _EPOCH) - _CLOCKS


async def compared(
    history: History,
    manifest: Manifest | None,
    other: Manifest | None,
    name: str,
    against: str | None,
    spans: Mapping[str, Sequence[Span]],
    tolerance: Tolerance,
    tell: Tell = lambda _: None,
) -> Compared:
    """`spans`: what is read of each side. Raises BrokerUnavailable, RecordsRemoved."""
    reading = _Reading(history, tell)
    now = Side()
    await reading.all(spans[name], now)
    if against is None:
        then = _live_side(manifest, now)
        await reading.all(spans[_LIVE], then)
    else:
        then = Side()
        await reading.all(spans[against], then)
    studies = differences(then, now, tolerance)
    bars = scores(studies)
    states = [await _state(history, of, one) for of, one in ((name, manifest), (against, other)) if of is not None]
    diff = Diff(
        now=f"replay {name}",
        then="what was said live" if against is None else f"replay {against}",
        studies=studies,
        models_then=tuple(then.models()),
        models_now=tuple(now.models()),
        scores_then=bars[0],
        scores_now=bars[1],
        notes=tuple(_notes(name, now, then, manifest, other, states)),
        unfinished=any(state != "done" for state in states),
        failures=failures(then, now),
        gone=tuple(dict.fromkeys([*_gone(manifest, other), *map(str, then.gone), *map(str, now.gone)])),
    )
    return Compared(diff, then, now)


def _live_side(manifest: Manifest | None, now: Side) -> Side:
    """What was said live of what the replay read, and not of what came later."""
    twins = frozenset(now.twins)
    if manifest is None:
        return Side(now.studies, until(None, now), twins)
    studies = now.studies | frozenset(map(str, manifest.plan.studies))
    if manifest.plan.selection.start == "analyse":
        return Side(studies, of_requests(manifest.plan.spans), twins)
    return Side(studies, until(manifest.plan.latest, now, manifest.plan.ahead_own), twins)


class _Reading:
    def __init__(self, history: History, tell: Tell) -> None:
        self._history = history
        self._tell = tell
        self._seen = 0

    async def all(self, spans: Sequence[Span], side: Side) -> None:
        takers: dict[str, Callable[[Record], None]] = {
            topics.RESULTS.name: side.result,
            topics.FINDINGS.name: side.text,
            topics.DEAD_LETTERS.name: side.letter,
        }
        for span in spans:
            take = takers.get(topics.plain_name(span.topic), side.request)
            async for record in across_gaps(self._history, span, side.gone.append):
                take(record)
                self._seen += 1
                self._tell(self._seen)


async def _state(history: History, name: str, manifest: Manifest | None) -> str:
    """Of a replay that was run on another machine "done" as the audit knows it, else "unknown"."""
    if manifest is not None:
        return manifest.state
    try:
        spans = await history.spans(topics.AUDIT.name)
    except TopicMissing:
        return _UNKNOWN
    for span in spans:
        async for record in history.records(span):
            if record.key != f"replay.{name}".encode() or record.header("ce_type") != ReplayBegun.TYPE:
                continue
            try:
                act = ReplayBegun.model_validate_json(record.value)
            except ValidationError:
                continue
            if act.outcome == "done":
                return "done"
    return _UNKNOWN


def _manifest(settings: Settings, name: str) -> Manifest | None:
    """None: it was run on another machine, whose folder is not here. Raises SettingsInvalid for what is no name."""
    folder = ReplayFolder(settings, name)
    manifest = folder.read() if folder.path.exists() else None
    if manifest is not None and manifest.through != "report":
        said = f"ended with the step {manifest.through} and analysed nothing: a diff is of what was said of studies"
        raise SettingsInvalid("replay diff", name, said)
    return manifest


def _gone(*manifests: Manifest | None) -> list[str]:
    """Of what was selected, each stretch once."""
    return list(dict.fromkeys(str(span) for one in manifests if one is not None for span in one.plan.gone))


def _notes(name: str, now: Side, then: Side, manifest: Manifest | None, other: Manifest | None, states: Sequence[str]) -> list[str]:
    notes = []
    for one in (manifest, other):
        if one is not None and one.state != "done":
            notes.append(f"The replay {one.name} is {one.state}, not done: {one.records} of {one.plan.records} records.")
    if manifest is None:
        notes.append("The folder of the replay is not on this machine: compared are the studies of which it said anything.")
    if _UNKNOWN in states:
        notes.append("Whether it is done nobody knows here: neither its folder nor radstream.audit says so.")
    if manifest is not None and other is not None and manifest.plan.sha256 != other.plan.sha256:
        notes.append("The two replays did not read the same records.")
    notes += [f"{gone} was selected and is not on the log any more: no replay read it." for gone in _gone(manifest, other)]
    for side, words in ((now, "now"), (then, "then")):
        notes += [f"{gone} is gone, with what was said there ({words}): neither log nor archive has it." for gone in side.gone]
        if side.unreadable:
            notes.append(f"{side.unreadable} records could not be read ({words}).")
    if number := len(failures(then, now)):
        notes.append(f"{number} dead letters of the replay are of no study and new: see sandbox.{name}.radstream.dead-letters.")
    return notes

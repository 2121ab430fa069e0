"""The notary: signs what the log holds, so that nobody can change it afterwards without being found."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Protocol

import structlog

from schemas.checkpoints import CheckpointSigned
from schemas.errors import BrokerUnavailable, RadstreamError, RecordsRemoved, Refused, TopicMissing, Unavailable
from schemas.history import History, Span
from schemas.ports import Clock, EventLog
from streams import topics
from streams.audit.chain import Chain, linked
from streams.audit.checkpoint_file import CheckpointFile
from streams.audit.series import Checkpoint
from streams.audit.signing import UNSIGNED_ID, Signer, value_of
from streams.audit.standing import CheckpointsDisagree, Standing, begin
from streams.emission import emit

#: what may never change
NOTARISED = (topics.HL7_RAW, topics.RESULTS, topics.DELIVERIES, topics.AUDIT)
#: offsets of one checkpoint at most: the fewer, the closer is the place of what was changed
_BLOCK = 5_000

_log = structlog.get_logger(__name__)


class AnyHealth(Protocol):
    """A health, or a part of one."""

    def set(self, state: str, reason: str = "", note: str = "") -> None: ...


class Notary:
    """The one writer of `radstream.checkpoints`. First the topic, then the file: what only the topic has at its end is repaired at
    the next start."""

    def __init__(
        self, log: EventLog, history: History, signer: Signer, file: CheckpointFile, clock: Clock, *, block: int = _BLOCK
    ) -> None:
        self._log, self._history, self._signer, self._file, self._clock = log, history, signer, file, clock
        self._block = block
        self._standing: Standing | None = None
        #: signed, and perhaps not on the topic yet; on the topic, and perhaps not in the file yet
        self._unpublished: list[CheckpointSigned] = []
        self._unfiled: list[CheckpointSigned] = []
        self._next_offset = 0
        #: how file and topic looked when they disagreed, and in what
        self._disagreed: tuple[object, CheckpointsDisagree] | None = None
        #: why something is not signed, by its place: a person must act
        self.alarms: dict[str, str] = {}
        #: what happened and cannot be mended, likewise: verify tells it too
        self.notes: dict[str, str] = {}

    async def run(
        self,
        stop: asyncio.Event,
        health: AnyHealth,
        *,
        interval_s: float,
        retry_s: float = 1.0,
        looked: asyncio.Event | None = None,
    ) -> None:
        """Until `stop`. A broker that is away, or a disk that is full, is waited for; so is another notary, to take over from it.
        `looked`: set when the first look is done, or cannot be done though the broker is there. Raises StoreUnavailable when the
        file cannot be locked."""
        looked, told = looked or asyncio.Event(), False
        while not stop.is_set():
            with self._file.held() as ours:
                if ours:
                    await self._run(stop, health, interval_s, retry_s, looked)
                    return
            looked.set()
            if not told:
                health.set("ready", note=f"another notary holds {self._file.path}: this one takes over when that ends")
                _log.warning("another notary runs", file=str(self._file.path))
                told = True
            await _paused(stop, interval_s)

    async def _run(self, stop: asyncio.Event, health: AnyHealth, interval_s: float, retry_s: float, looked: asyncio.Event) -> None:
        said = ""
        health.set("ready", note="it reads its checkpoints")  # the rest of the engine need not wait for a long first look
        while not stop.is_set():
            pause, reason, state, away = interval_s, "", "ready", False
            try:
                pause = 0.0 if await self.look() else interval_s
                reason = "; ".join(self.alarms.values())
            except Unavailable as error:
                pause, reason, state = min(retry_s, interval_s), str(error), "paused"
                away = isinstance(error, BrokerUnavailable) and not isinstance(error, TopicMissing)
            except Refused as error:
                self._standing = None  # all is looked at again
                reason = str(error)
            if not away:
                looked.set()
            if reason and reason != said:
                _log.error("the notary needs a person" if state == "ready" else "the notary waits", reason=reason)
            said = reason
            health.set(state, reason, "; ".join(self.notes.values()))
            await _paused(stop, pause)

    async def look(self) -> bool:
        """Sign what is new; whether there is more, for one checkpoint holds only so much. Raises BrokerUnavailable and
        StoreUnavailable (it may be called again), CheckpointsDisagree, CheckpointFileChanged."""
        if self._standing is None:
            self._standing = await self._begun()
        if not self._unpublished and not self._unfiled:
            more = await self._sign(self._standing)
        else:
            more = True
        await self._publish()
        await asyncio.to_thread(self._file.append, [value_of(one) for one in self._unfiled])
        self._unfiled = []
        return more

    async def _begun(self) -> Standing:
        self._unpublished, self._unfiled = [], []
        looks = await self._looks()
        if self._disagreed is not None and self._disagreed[0] == looks:  # all of both was read and verified, and says so
            raise self._disagreed[1].with_traceback(None)
        try:
            begun = await begin(self._history, self._file, self._signer)
        except CheckpointsDisagree as error:
            self._disagreed = looks, error
            raise
        self._disagreed = None
        self._next_offset = begun.next_offset
        self.notes.pop(topics.CHECKPOINTS.name, None)
        if begun.mixed:
            self._note(topics.CHECKPOINTS.name, f"{topics.CHECKPOINTS.name} holds what this notary did not sign")
        return begun.standing

    async def _looks(self) -> object:
        """Other than before when somebody wrote to the file or to the topic."""
        return await asyncio.to_thread(self._file.looks), await self._history.spans(topics.CHECKPOINTS.name)

    async def _publish(self) -> None:
        if not self._unpublished:
            return
        records = [emit(topics.CHECKPOINTS, f"{one.topic}/{one.partition}", one, None) for one in self._unpublished]
        places = await self._log.append(records)
        self._unfiled, self._unpublished = self._unpublished, []
        if places[0].offset != self._next_offset:  # ours, twice, after it was not confirmed; or another notary's
            self._standing = None
        self._next_offset = places[-1].offset + 1

    async def _sign(self, standing: Standing) -> bool:
        """For each partition that has something new; whether there is more. What is signed is kept to be published, also when the
        broker is away for the next partition: the standing has moved on with it. What cannot be read of one keeps no other from
        being signed. Raises BrokerUnavailable: it is away, and not only for one of them."""
        at, more = self._clock.now(), False
        for topic in NOTARISED:
            for span in await self._spans(topic.name):
                try:
                    more |= await self._sign_new(standing, span, at)
                except (RecordsRemoved, TopicMissing):
                    continue  # while it was read: the next look sees what is left
        for partition in standing.old():
            self._add(standing, partition, standing.chains[partition], at)
        return more

    async def _sign_new(self, standing: Standing, span: Span, at: datetime) -> bool:
        """What a partition has behind its chain; whether there is more. Raises as `_sign`; RecordsRemoved."""
        partition = span.topic, span.partition
        chain, begun_anew = self._going_on(standing.chains.get(partition), span)
        end = min(span.end, chain.end + self._block)
        grown, unread = await self._grown(chain, Span(*partition, chain.end, end))
        await self._tell(f"{span.topic}/{span.partition}", grown.end, unread)
        if grown.end > chain.end or begun_anew:
            self._add(standing, partition, grown, at)
        return unread is None and end < span.end

    def _add(self, standing: Standing, partition: tuple[str, int], chain: Chain, at: datetime) -> None:
        signed = self._checkpoint(standing, *partition, chain, at)
        self._unpublished.append(signed)
        standing.add(Checkpoint.of(signed, sha256(value_of(signed)).digest()))

    async def _tell(self, place: str, first: int, unread: RadstreamError | None) -> None:
        """An alarm, for as long as it cannot be read from `first` on. Raises BrokerUnavailable when that is away as a whole."""
        if isinstance(unread, Unavailable):
            await self._history.spans(topics.CHECKPOINTS.name)
        if unread is None:
            self.alarms.pop(place, None)
        else:
            self.alarms[place] = f"{place} cannot be read from {first} on, and nothing behind it is signed: {unread.reason}"

    async def _spans(self, topic: str) -> Sequence[Span]:
        """One that is missing, or has a partition without a leader, keeps no other from being signed. Raises as `_sign`."""
        try:
            spans = await self._history.spans(topic)
        except TopicMissing:
            self.alarms[topic] = f"{topic} is missing on the broker: nothing of it is signed"
            return ()
        except BrokerUnavailable as error:
            await self._history.spans(topics.CHECKPOINTS.name)
            self.alarms[topic] = f"{topic} cannot be read, and nothing new of it is signed: {error.reason}"
            return ()
        self.alarms.pop(topic, None)
        return spans

    def _going_on(self, chain: Chain | None, span: Span) -> tuple[Chain, bool]:
        """Where its chain ends, or where a new one begins because that is not there any more: a person must know, and verify will
        always say it."""
        place = f"{span.topic}/{span.partition}"
        if chain is None:
            return Chain(span.first, span.first), False
        if span.first > chain.end:
            said = (
                f"{place}: {chain.end}-{span.first - 1} were gone before they were signed: is retention shorter than it was down?"
            )
        elif span.end < chain.end:
            said = f"{place}: the log ends at {span.end}, and records up to {chain.end - 1} were signed"
        else:
            return chain, False
        self._note(place, said)
        begin = span.first if span.first > chain.end else span.end
        return Chain(begin, begin), True

    def _note(self, place: str, said: str) -> None:
        if place not in self.notes:
            _log.error("what was signed, or should have been, is not there", reason=said)
        self.notes[place] = f"{said} (radstream audit verify)"

    async def _grown(self, chain: Chain, span: Span) -> tuple[Chain, RadstreamError | None]:
        """With the records of the span, as far as they can be read, and why not further. Raises RecordsRemoved, TopicMissing."""
        head, records, end = chain.head, chain.records, span.first
        try:
            async for record in self._history.records(span):
                head, records, end = linked(head, record), records + 1, record.place.offset + 1
        except (RecordsRemoved, TopicMissing):
            raise
        except RadstreamError as error:
            return Chain(chain.first, end, records, head), error
        return Chain(chain.first, span.end, records, head), None

    def _checkpoint(self, standing: Standing, topic: str, partition: int, chain: Chain, at: datetime) -> CheckpointSigned:
        return self._signer.signed(
            CheckpointSigned(
                id=UNSIGNED_ID,
                time=at,
                topic=topic,
                partition=partition,
                first=chain.first,
                end=chain.end,
                records=chain.records,
                chain=chain.head.hex(),
                number=standing.number + 1,
                previous=standing.digest,
                key=self._signer.name,
                signature="0" * 128,
            )
        )


async def _paused(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)

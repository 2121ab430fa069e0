"""What one worker speaks with for one service: the package promoted last, for as long as it is what was approved, works and was not
recalled; else the one before, and a person is told; else nothing: silence raises an alarm, a recalled model's word does harm."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

import structlog

from schemas.errors import AccessRefused, BrokerUnavailable, MalformedMessage, RadstreamError, Unavailable
from schemas.findings import ModelIdentity
from schemas.ports import Clock, EventLog, Record
from streams import topics
from streams.promotion.acts import NOT_LOADED, Act, Acts, ended, taken
from streams.promotion.candidates import Candidates
from streams.promotion.models_in_use import Load, ModelsInUse

_log = structlog.get_logger(__name__)


class _Health(Protocol):
    def set(self, state: str, reason: str = "") -> None: ...


class Follower:
    """`own`: the package of the settings, which speaks until another is promoted. `worker`: its name, kept over restarts.
    Pauses, in seconds, are those between tries while the log or the packages' store is away."""

    def __init__(
        self,
        service: str,
        own: str,
        *,
        worker: str,
        log: EventLog,
        load: Load,
        clock: Clock,
        health: _Health,
        first_pause_s: float = 0.5,
        longest_pause_s: float = 30.0,
    ) -> None:
        self._service = service
        self._own = own
        self._worker = worker
        self._log = log
        self._clock = clock
        self._health = health
        self._pauses = first_pause_s, longest_pause_s
        self._acts = Acts()
        self._candidates = Candidates(service, own, log, load, self._acts)
        self._news = asyncio.Event()
        #: the promotion that was tried last, why it is not in use ("": it is), and whether trying again may help
        self._tried: Act | None = None
        self._reason = ""
        self._again = False
        #: what speaks must be looked at: another was promoted, or it was recalled
        self._unsettled = False
        #: what was recalled while it spoke
        self._stopped: ModelIdentity | None = None

    async def start(self) -> ModelsInUse:
        """What was promoted last and works, else the package of the settings; what was recalled never. Nothing speaks where only
        recalled ones are left. Raises BrokerUnavailable, and as `Load` when nothing may speak for another reason: also when the
        package of the settings is the promoted one, and no longer what was approved."""
        async for record in self._log.read(topics.MODELS.name):
            self._see(record, None)
        self._news.clear()
        self._unsettled = False
        self._tried = self._candidates.wanted
        try:
            return self._well(ModelsInUse(await self._candidates.first()))
        except RadstreamError as error:
            if self._choice == self._own and not self._candidates.is_recalled(self._own):
                raise
            models = ModelsInUse(None, self._service)
            await self._instead(models, error, starting=True)
            return models

    @property
    def _choice(self) -> str:
        """NAME/VERSION of what was tried last."""
        return self._own if self._tried is None else self._tried.reference

    async def _instead(self, models: ModelsInUse, trouble: RadstreamError, *, starting: bool = False) -> None:
        """In the place of the first choice: what a person had promoted before, newest first, if it still is that and works; else
        the package of the settings; else nothing, and a person is told. `starting`: raises instead, unless the package of the
        settings was recalled."""
        try:
            models.change(await self._candidates.other(self._choice))
        except RadstreamError as error:
            if starting and not self._candidates.is_recalled(self._own):
                raise
            trouble = error
        self._alarm(trouble, models)

    async def follow(self, models: ModelsInUse, stop: asyncio.Event) -> None:
        """Until `stop`. No error of a package, of its store or of the log ends it, or disturbs what is in use."""
        tasks = [asyncio.create_task(task) for task in (self._read(models), self._take(models), stop.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        try:
            await self._log.append([ended(self._worker, self._service, self._clock.now())])
        except BrokerUnavailable as error:
            _log.warning("a worker ended and could not say so", error=str(error))

    async def _read(self, models: ModelsInUse) -> None:
        """Again from the beginning after each break: what was seen is seen as such."""
        pause, longest = self._pauses
        while True:
            try:
                async for record in self._log.read(topics.MODELS.name, follow=True):
                    pause, _ = self._pauses
                    self._see(record, models)
            except BrokerUnavailable as error:
                _log.warning("promotions cannot be followed now", error=str(error), pause_s=pause)
            await asyncio.sleep(pause)  # a broker that comes back gives no event
            pause = min(pause * 2, longest)

    def _see(self, record: Record, models: ModelsInUse | None) -> None:
        before = self._candidates.wanted
        try:
            self._acts.see(record)
        except MalformedMessage as error:
            _log.error("an act about a model cannot be read", error=str(error))
        if self._candidates.wanted is not before:
            self._unsettled = True
        if models is not None and models.speaks and self._candidates.is_recalled(models.current.reference):
            self._stopped = models.current.model.identity
            models.stop(self._candidates.why_recalled(models.current.reference))  # at once: to load another takes its time
            self._unsettled = True
        if self._unsettled:
            self._news.set()

    async def _take(self, models: ModelsInUse) -> None:
        """One at a time: while one is loaded others may be promoted, of which the last is next."""
        pause, longest = self._pauses
        said: object = None
        while True:
            if self._unsettled or self._again:
                self._unsettled = False
                await self._try(models)
            now = self._tried, models.current if models.speaks else None, self._reason
            unsaid = now != said
            if unsaid:
                said = now if await self._say(models) else None
                unsaid = said is None
            if self._unsettled:
                continue
            if unsaid or self._again:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), pause)
                pause = min(pause * 2, longest)
            else:
                await self._news.wait()
                pause, _ = self._pauses
            self._news.clear()

    async def _try(self, models: ModelsInUse) -> None:
        act = self._candidates.wanted
        if act is not self._tried:
            self._tried, self._reason = act, ""
        if act is not None and models.speaks and models.current.is_what(act.event):
            self._well(models)
            return
        try:
            new = await self._candidates.first()
        except RadstreamError as error:
            if models.speaks:
                self._alarm(error, models)
                return
            await self._instead(models, error)
            return
        models.change(new)
        self._well(models)
        if act is not None:
            _log.info("another model speaks", service=self._service, model=act.reference, approved_by=act.event.approved_by)

    async def _say(self, models: ModelsInUse) -> bool:
        uses = models.current.model.identity if models.speaks else self._may_not_use()
        try:
            await self._log.append([taken(self._worker, self._service, uses, self._tried, self._clock.now(), self._reason)])
        except BrokerUnavailable as error:
            _log.warning("what a worker uses could not be told", error=str(error))
            return False
        return True

    def _may_not_use(self) -> ModelIdentity:
        if self._stopped is not None:
            return self._stopped
        name, _, version = self._choice.partition("/")
        weights = NOT_LOADED if self._tried is None else self._tried.digest
        return ModelIdentity(name=name, version=version, weights_sha256=weights)

    def _well(self, models: ModelsInUse) -> ModelsInUse:
        self._reason, self._again = "", False
        self._health.set("ready")
        return models

    def _alarm(self, error: RadstreamError, models: ModelsInUse) -> None:
        """Once for each promotion and reason, however often it is tried. Who promotes the same again is told again."""
        wanted, instead = self._choice, models.current.reference if models.speaks else "nothing"
        reason = str(error) if models.speaks else f"nothing speaks for {self._service} now: {error}"
        if reason != self._reason:
            _log.error("a promoted model is not used", model=wanted, instead=instead, error=reason)
        self._reason, self._again = reason, isinstance(error, (Unavailable, AccessRefused))
        if models.speaks:
            self._health.set("ready", f"{wanted} was promoted and is not used, {instead} goes on: {reason}")
        else:
            models.stop(reason)
            self._health.set("paused", reason)

"""What one worker speaks with for one service: the package promoted last, for as long as it is what was approved and works;
else the one before, and a person is told."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

import structlog

from schemas.errors import AccessRefused, BrokerUnavailable, MalformedMessage, ModelFailed, RadstreamError, Unavailable
from schemas.findings import ModelIdentity
from schemas.ports import Clock, EventLog, Record
from streams import topics
from streams.promotion.acts import Act, Acts, ended, promoted, taken
from streams.promotion.models_in_use import InUse, Load, ModelsInUse, approved

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
        self._load = load
        self._clock = clock
        self._health = health
        self._pauses = first_pause_s, longest_pause_s
        self._acts = Acts()
        self._news = asyncio.Event()
        #: the promotion that was tried last, why it is not in use ("": it is), and whether trying again may help
        self._tried: Act | None = None
        self._reason = ""
        self._again = False

    async def start(self) -> ModelsInUse:
        """What was promoted last and works, else the package of the settings. Raises BrokerUnavailable, and as `Load` when nothing
        may speak: also when the package of the settings is the promoted one, and no longer what was approved."""
        async for record in self._log.read(topics.MODELS.name):
            self._see(record)
        self._news.clear()
        self._tried = self._wanted
        if self._tried is not None:
            try:
                return self._well(ModelsInUse(await self._approved(self._tried)))
            except RadstreamError as error:
                if self._tried.reference == self._own:
                    raise
                models = await self._instead(self._tried)
                self._alarm(self._tried, error, models.current.reference)
                return models
        return self._well(await self._of_settings())

    async def _instead(self, broken: Act) -> ModelsInUse:
        """What a person had promoted before, newest first, if it still is that and works; else the package of the settings. The
        audit knows it: on the compacted topic the broken one may have taken its place."""
        before: dict[str, Act] = {}
        async for record in self._log.read(topics.AUDIT.name):
            act = promoted(record)
            if act is not None and act.event.service == self._service:
                before.pop(act.reference, None)
                before[act.reference] = act
        before.pop(broken.reference, None)
        for act in reversed(before.values()):
            try:
                return ModelsInUse(await self._approved(act))
            except RadstreamError as error:
                _log.warning("nor is one promoted before used", model=act.reference, error=str(error))
        return await self._of_settings()

    async def _of_settings(self) -> ModelsInUse:
        first = await self._load(self._own)
        if first.model.service != self._service:
            await first.close()
            raise ModelFailed("load", self._own, f"it is a package of {first.model.service}, not of {self._service}")
        return ModelsInUse(first)

    async def follow(self, models: ModelsInUse, stop: asyncio.Event) -> None:
        """Until `stop`. No error of a package, of its store or of the log ends it, or disturbs what is in use."""
        tasks = [asyncio.create_task(task) for task in (self._read(), self._take(models), stop.wait())]
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

    @property
    def _wanted(self) -> Act | None:
        return self._acts.promoted.get(self._service)

    async def _read(self) -> None:
        """Again from the beginning after each break: what was seen is seen as such."""
        pause, longest = self._pauses
        while True:
            try:
                async for record in self._log.read(topics.MODELS.name, follow=True):
                    pause, _ = self._pauses
                    self._see(record)
            except BrokerUnavailable as error:
                _log.warning("promotions cannot be followed now", error=str(error), pause_s=pause)
            await asyncio.sleep(pause)  # a broker that comes back gives no event
            pause = min(pause * 2, longest)

    def _see(self, record: Record) -> None:
        before = self._wanted
        try:
            self._acts.see(record)
        except MalformedMessage as error:
            _log.error("an act about a model cannot be read", error=str(error))
        if self._wanted is not before:
            self._news.set()

    async def _take(self, models: ModelsInUse) -> None:
        """One at a time: while one is loaded others may be promoted, of which the last is next."""
        pause, longest = self._pauses
        said: object = None
        while True:
            if self._wanted is not self._tried or self._again:
                await self._try(models)
            now = self._tried, models.current, self._reason
            unsaid = now != said
            if unsaid:
                said = now if await self._say(models.current.model.identity) else None
                unsaid = said is None
            if unsaid or self._again:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), pause)
                pause = min(pause * 2, longest)
            else:
                await self._news.wait()
                pause, _ = self._pauses
            self._news.clear()

    async def _try(self, models: ModelsInUse) -> None:
        act = self._wanted
        assert act is not None  # a promotion may be followed by another, and is never taken back
        if act is not self._tried:
            self._tried, self._reason = act, ""
        if models.current.is_what(act.event):
            self._well(models)
            return
        try:
            new = await self._approved(act)
        except RadstreamError as error:
            self._alarm(act, error, models.current.reference)
            return
        models.change(new)
        self._well(models)
        _log.info("another model speaks", service=self._service, model=act.reference, approved_by=act.event.approved_by)

    async def _approved(self, act: Act) -> InUse:
        """Raises as `approved`; ModelFailed when anything but our own errors comes out of it."""
        try:
            return await approved(self._load, act.event, "promote it again")
        except RadstreamError:
            raise
        except Exception as error:  # a strange package must not end the process: it would be tried again at every start
            raise ModelFailed("load", act.reference, f"it cannot be loaded: {type(error).__name__}") from error

    async def _say(self, uses: ModelIdentity) -> bool:
        try:
            await self._log.append([taken(self._worker, self._service, uses, self._tried, self._clock.now(), self._reason)])
        except BrokerUnavailable as error:
            _log.warning("what a worker uses could not be told", error=str(error))
            return False
        return True

    def _well(self, models: ModelsInUse) -> ModelsInUse:
        self._reason, self._again = "", False
        self._health.set("ready")
        return models

    def _alarm(self, act: Act, error: RadstreamError, instead: str) -> None:
        """Once for each promotion and reason, however often it is tried. Who promotes the same again is told again."""
        reason = str(error)
        if reason != self._reason:
            _log.error("a promoted model is not used", model=act.reference, instead=instead, error=reason)
        self._reason, self._again = reason, isinstance(error, (Unavailable, AccessRefused))
        self._health.set("ready", f"{act.reference} was promoted and is not used, {instead} goes on: {reason}")

"""`radstream model promote`: a person decides that from now on another package speaks, and sees whether every worker took it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from schemas.errors import MalformedMessage, SettingsInvalid
from schemas.model_events import ModelPromoted
from schemas.ports import EventLog, Place
from streams import topics
from streams.clock import SystemClock
from streams.health import RoleHealth, read_health
from streams.promotion.acts import Acts, Taken, audit_and_tell, promotion
from streams.promotion.verifying import Well, verified
from streams.settings import Settings
from streams.wiring.clients import ensure_all_topics, log_for
from streams.wiring.models import package_store_for, services
from streams.wiring.running import instance_of

Say = Callable[[str], None]
#: the role whose process analyses, as its health file names it
_ROLE = "work-analyse"


async def run_promote(
    settings: Settings, name: str, version: str, *, approved_by: str, reason: str, wait_s: float | None, say: Say
) -> bool:
    """Whether every worker that lives took it within `wait_s` (None: nobody waits). Raises SettingsInvalid (no such package, none
    for this engine, one that was recalled), ModelFailed, BrokerUnavailable, ObjectStoreUnavailable, ModelUnavailable."""
    if not (0 < len(approved_by.strip()) <= 200 and 0 < len(reason.strip()) <= 1000):
        raise SettingsInvalid("promote", f"{name}/{version}", "--approved-by has 1 to 200 characters, --reason 1 to 1000")
    well, service = await _approvable(settings, f"{name}/{version}")
    await asyncio.to_thread(ensure_all_topics, settings)
    async with log_for(settings) as log:
        before = await read_acts(log)
        keeps_its_service(before, f"{name}/{version}", service)
        was_not_recalled(before, f"{name}/{version}")
        event = promotion(
            well.identity,
            service,
            card_sha256=well.card_sha256,
            approved_by=approved_by,
            reason=reason,
            at=SystemClock().now(),
        )
        act = before.promoted.get(service)
        if act and (act.reference, act.event.card_sha256) == (f"{name}/{version}", event.card_sha256):
            say(f"{act.reference} was promoted already, by {act.event.approved_by}: it is told again, nothing else changes.")
        place = await audit_and_tell(log, event, name)
        say(f"{name}/{version} is promoted for {service}.")
        if wait_s is None:
            return True
        return await taken_by_all(log, event, place, wait_s, say, read_health(settings.run_folder))


async def _approvable(settings: Settings, reference: str) -> tuple[Well, str]:
    store = package_store_for(settings)
    folder = await store.folder(reference)
    served = await services(settings, store)
    well = await asyncio.to_thread(verified, folder, settings)
    if well.card is None:
        raise SettingsInvalid("promote", reference, "is a gate, and speaks in no report: see RADSTREAM_MODELS__GATE")
    if well.card.service not in served:
        said = f"nothing analyses for {well.card.service}: add {reference} to RADSTREAM_MODELS__USE and start the engine again"
        raise SettingsInvalid("promote", reference, said)
    return well, well.card.service


def keeps_its_service(acts: Acts, reference: str, service: str) -> None:
    """The topic keeps one promotion of each name: a second service under the same would forget what speaks in the first. Raises
    SettingsInvalid."""
    name = reference.partition("/")[0]
    if other := next((one for one, act in acts.promoted.items() if act.event.name == name and one != service), None):
        said = f"{name} was promoted for {other}: a model of another service needs another name"
        raise SettingsInvalid("promote", reference, said)


def was_not_recalled(acts: Acts, reference: str) -> None:
    """A recall is never taken back: what is mended has another version. Raises SettingsInvalid."""
    if recalled := acts.recalled.get(reference):
        said = f"was recalled by {recalled.approved_by} because {recalled.reason}: a mended package needs another version"
        raise SettingsInvalid("promote", reference, said)


async def read_acts(log: EventLog) -> Acts:
    """All that is on the topic now; what is no act is passed over. Raises BrokerUnavailable."""
    acts = Acts()
    async for record in log.read(topics.MODELS.name):
        try:
            acts.see(record)
        except MalformedMessage:
            continue  # the workers have told it
    return acts


async def taken_by_all(
    log: EventLog, event: ModelPromoted, place: Place, wait_s: float, say: Say, roles: Mapping[str, RoleHealth]
) -> bool:
    """Whether every living worker of the service says that it uses what was promoted there, or what was promoted later. `roles`:
    health of those on this machine."""
    acts = Acts()
    answered: dict[str, bool] = {}

    def waiting() -> list[str]:
        return [key for key in sorted(acts.workers) if lives(acts.workers[key], event.service, roles) and key not in answered]

    async def hear() -> None:
        async for record in log.read(topics.MODELS.name, follow=True):
            try:
                acts.see(record)
            except MalformedMessage:
                continue
            _answers(acts, event, place, answered, say)
            if record.place.offset >= place.offset and not waiting():
                return

    try:
        await asyncio.wait_for(hear(), wait_s)
    except TimeoutError:
        for key in waiting():
            say(f"{acts.workers[key].event.worker} has not taken it within {wait_s:g} s: radstream model list, radstream doctor.")
        return False
    if not answered:
        say("No worker runs now: it is taken when one starts.")
    return all(answered.values())


def _answers(acts: Acts, event: ModelPromoted, place: Place, answered: dict[str, bool], say: Say) -> None:
    for key, taken in acts.workers.items():
        about = _offset(taken.cause)
        if taken.event.service != event.service or about is None or about < place.offset:
            continue
        well = taken.event.well
        if answered.get(key) is not well:
            answered[key] = well
            uses = f"{taken.event.name}/{taken.event.version}"
            say(f"{taken.event.worker} uses {uses}." if well else f"{taken.event.worker} goes on with {uses}: {taken.event.reason}")


def _offset(cause: str | None) -> int | None:
    """Of the record that made a worker say it."""
    number = (cause or "").rpartition("/")[2]
    return int(number) if number.isdecimal() else None


def lives(taken: Taken, service: str, roles: Mapping[str, RoleHealth]) -> bool:
    """One that was killed said nothing. On this machine its health file tells, or that there is none; of other machines nothing is
    known, so they are waited for."""
    if taken.event.service != service:
        return False
    if taken.event.worker != instance_of("analyse"):
        return True
    health = roles.get(_ROLE)
    return health is not None and health.alive

"""`radstream model recall`: what a version of a model has said and still stands; and, by a person's word, all of it withdrawn.

The command writes the act alone. `correlate` withdraws, so that a study's states have one author; the workers stop."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import structlog
from pydantic import ValidationError

from connectors.kafka_admin import topic_sizes
from schemas.errors import BrokerUnavailable, RadstreamError, SettingsInvalid
from schemas.model_events import ModelRecalled
from schemas.ports import Clock, EventLog
from streams import topics
from streams.clock import SystemClock
from streams.health import read_health
from streams.progress import progress
from streams.promotion.acts import Acts, audit_and_tell, promoted, promoted_before, recall, recall_key
from streams.promotion.promoting import Say, read_acts
from streams.promotion.standing import Standing, Stands
from streams.promotion.stopping import stopped_by_all
from streams.settings import Settings
from streams.wiring.clients import ensure_all_topics, log_for
from streams.wiring.models import package_store_for, services

_log = structlog.get_logger(__name__)

#: between tries while the broker is away
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Decision:
    """Who recalls, and why."""

    approved_by: str
    reason: str


async def run_recall(
    settings: Settings, name: str, version: str, decision: Decision | None, *, as_json: bool, wait_s: float, say: Say
) -> bool:
    """Lists; with a `decision` also recalls, and waits until every worker has stopped and nothing stands: False when one has not
    said so within `wait_s`, or for `wait_s` nothing more was withdrawn. Raises SettingsInvalid (a model of which nothing is known;
    who or why too long or empty), BrokerUnavailable, ObjectStoreUnavailable."""
    event = None if decision is None else act_of(name, version, decision, SystemClock())
    await asyncio.to_thread(ensure_all_topics, settings)
    sizes = await asyncio.to_thread(topic_sizes, settings.kafka.bootstrap, [topics.RESULTS.name])
    standing = Standing(name, version)
    async with log_for(settings) as log:
        with progress("reading ai.results", sum(size.records for size in sizes.values())) as tell:
            await catch_up(log, standing, tell)
        acts = await read_acts(log)
        if not standing.spoke:
            await _is_known(settings, log, acts, f"{name}/{version}")
        show(standing, as_json, say)
        if event is None:
            return True
        await tell_recall(log, acts, event, say)
        await tell_consequences(settings, log, acts, event, say)
        stopped = await stopped_by_all(log, f"{name}/{version}", wait_s, say, read_health(settings.run_folder))
        return await withdrawn(log, standing, wait_s, say) and stopped


async def catch_up(log: EventLog, standing: Standing, tell: Callable[[int], None]) -> None:
    """All that is on the topic now. Raises BrokerUnavailable."""
    seen = 0
    async for record in log.read(topics.RESULTS.name):
        standing.see(record)
        seen += 1
        tell(seen)


def show(standing: Standing, as_json: bool, say: Say) -> None:
    """Numbers of studies are patient data, and are what was asked for."""
    answers = sorted(standing.answers.values(), key=lambda one: (one.at, one.study_instance_uid, one.service))
    reference = f"{standing.name}/{standing.version}"
    if as_json:
        rows = [asdict(one) | {"accession_number": _number(one), "at": one.at.isoformat()} for one in answers]
        value = {"name": standing.name, "version": standing.version, "stand": len(rows), "answers": rows}
        sys.stdout.write(json.dumps(value, indent=2) + "\n")
        return
    for one in answers:
        say(f"{_number(one) or '-':20} {one.study_instance_uid:64} {one.service}  {one.findings} finding(s)  {one.at.isoformat()}")
    say(f"{len(answers)} answers of {reference} stand." if len(answers) != 1 else f"1 answer of {reference} stands.")


def _number(one: Stands) -> str | None:
    return None if one.accession_number is None else str(one.accession_number)


async def _is_known(settings: Settings, log: EventLog, acts: Acts, reference: str) -> None:
    """Who mistypes a version must not believe that it was recalled. Raises SettingsInvalid."""
    packages = await package_store_for(settings).references()
    acts_on_record = [act async for record in log.read(topics.AUDIT.name) if (act := promoted(record))]
    known = {*packages, *settings.models.use, *acts.recalled, *(act.reference for act in acts_on_record)}
    if reference not in known:
        said = f"it never spoke, was never promoted and is no package here; known: {', '.join(sorted(known)) or 'none'}"
        raise SettingsInvalid("recall", reference, said)


def act_of(name: str, version: str, decision: Decision, clock: Clock) -> ModelRecalled:
    """Raises SettingsInvalid."""
    try:
        return recall(name, version, approved_by=decision.approved_by.strip(), reason=decision.reason.strip(), at=clock.now())
    except ValidationError as error:
        wrong = ", ".join(f"--{part}".replace("_", "-") for one in error.errors() for part in map(str, one["loc"]))
        raise SettingsInvalid("recall", wrong, "who has 1 to 200 characters, why 1 to 1000") from None


async def tell_recall(log: EventLog, acts: Acts, event: ModelRecalled, say: Say) -> None:
    """For the audit and then for those who act on it; what was told before is not told again. Raises BrokerUnavailable."""
    reference = f"{event.name}/{event.version}"
    if before := acts.recalled.get(reference):
        say(f"{reference} was recalled already, by {before.approved_by} because {before.reason}.")
        return
    await audit_and_tell(log, event, recall_key(event))
    acts.recalled[reference] = event
    say(f"{reference} is recalled: it speaks no more, and what it said is withdrawn.")


async def tell_consequences(settings: Settings, log: EventLog, acts: Acts, event: ModelRecalled, say: Say) -> None:
    """What speaks in its place, for each service in which it spoke last."""
    reference = f"{event.name}/{event.version}"
    try:
        own = dict(await services(settings, package_store_for(settings)))
    except RadstreamError as error:  # the act is done: what is told of it does not undo it
        say(f"What RADSTREAM_MODELS__USE names cannot be looked at: {error}")
        own = {}
    spoke = {service: act.reference for service, act in acts.promoted.items()}
    for service in sorted(service for service in {*own, *spoke} if spoke.get(service, own.get(service)) == reference):
        before = [act.reference for act in await promoted_before(log, service)]
        left = [one for one in (*before, own.get(service)) if one is not None and one not in acts.recalled]
        say(
            f"For {service} {left[0]} speaks in its place, if it works: promote what shall speak."
            if left
            else f"For {service} nothing is left that may speak: analysis stops, and studies are told as late, until "
            f"`radstream model promote` names another version."
        )


async def withdrawn(log: EventLog, standing: Standing, wait_s: float, say: Say) -> bool:
    """Whether nothing stands any more. What was answered since the list was made counts too."""
    before = len(standing.answers)
    await catch_up(log, standing, lambda _: None)
    whole = max(before, len(standing.answers))
    if not whole:
        say("Nothing stands.")
        return True
    with progress("withdrawn", whole, say) as tell:
        try:
            async with asyncio.timeout(wait_s) as limit:
                if standing.answers:
                    await _hear(log, standing, tell, whole, limit, wait_s)
        except TimeoutError:
            left = len(standing.answers)
            say(f"{left} of {whole} still stand, and for {wait_s:g} s none was withdrawn.")
            say("They are withdrawn as soon as `work correlate` and `work due` run: `radstream doctor` says whether they do.")
            say("To see what is left: the same command again.")
            return False
    say(f"Nothing stands any more: {whole} withdrawn. Receivers are told by `deliver`: radstream tail {topics.DELIVERIES.name}.")
    return True


async def _hear(
    log: EventLog, standing: Standing, tell: Callable[[int], None], whole: int, limit: asyncio.Timeout, wait_s: float
) -> None:
    """Again from the beginning after each break: what was seen is seen as such."""
    while True:
        try:
            async for record in log.read(topics.RESULTS.name, follow=True):
                before = len(standing.answers)
                new = standing.see(record)
                if not standing.answers:
                    return
                if not new or len(standing.answers) < before:  # it goes on
                    limit.reschedule(asyncio.get_running_loop().time() + wait_s)
                    tell(max(0, whole - len(standing.answers)))
        except BrokerUnavailable as error:
            _log.warning("withdrawals cannot be followed now", error=str(error))
        await asyncio.sleep(_PAUSE_S)  # a broker that comes back gives no event

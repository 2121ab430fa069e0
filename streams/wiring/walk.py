"""The steps of a message's walk that stay inside: what each role's process runs.

Imports are made inside each function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS
from streams import topics
from streams.clock import SystemClock
from streams.health import Health, Part
from streams.model_settings import ModelSettings
from streams.settings import Settings
from streams.wiring.clients import archive_for, decoder_for, log_and_cases, log_for
from streams.wiring.running import faust, run_step, together, unless, window

if TYPE_CHECKING:
    from connectors.case_store import SqlCaseStore
    from schemas.case_store import CaseStore
    from schemas.ports import Outgoing, Step
    from schemas.renderings.fhir.references import Site as ReportingSite
    from streams.case_state import Policy
    from streams.due import Timer


async def normalise(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.answering import Answering
    from streams.steps.normalise import normalise
    from streams.tally import Tally

    tally = Tally(settings.run_folder, "work-normalise")
    step = Answering(partial(normalise, site=settings.site), settings.admission, settings.site.default_charset, tally)
    runner = faust("normalise", settings)
    await run_step("normalise", lambda _: step, [topics.HL7_RAW], runner, settings, stop, health, step.refusal)


async def policy_for(settings: Settings) -> Policy:
    """Where the package that comes with the source speaks alone, nobody needs to ask where packages are."""
    from streams.case_state import Policy
    from streams.wiring.models import package_store_for, services

    correlation, escalate_after_s = settings.correlation, settings.discrepancies.escalate_after_s
    spoken = await services(settings, package_store_for(settings)) if settings.models.use != ModelSettings().use else {}
    return Policy(
        order_wait=timedelta(seconds=correlation.order_wait_s),
        without_order=correlation.without_order,
        deadline=None if correlation.deadline_s is None else timedelta(seconds=correlation.deadline_s),
        news=settings.news,
        examinations=settings.site.examinations,
        services=tuple(sorted(set(spoken) - {CHEST_RADIOGRAPH_FINDINGS})),
        escalate_after=None if escalate_after_s is None else timedelta(seconds=escalate_after_s),
    )


async def correlate(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.steps.correlate import TOPICS, correlate

    policy = await policy_for(settings)

    def step(cases: SqlCaseStore) -> Step:
        return partial(correlate, cases=cases, policy=policy)

    await run_step("correlate", step, TOPICS, faust("correlate", settings), settings, stop, health)


async def analyse(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Each service is a consumer group of its own, with a model of its own: one that is slow or fails delays no other."""
    from streams.health import Shared
    from streams.steps.analyse import analyse
    from streams.turns import Turns
    from streams.wiring.models import follower_for, package_store_for, services

    shared, store = Shared(health), package_store_for(settings)
    async with AsyncExitStack() as stack:
        decoder = stack.enter_context(closing(decoder_for(settings)))  # its processes start beside those of the models
        archive = stack.enter_context(closing(archive_for(settings)))
        log = await stack.enter_async_context(log_for(settings))
        step = partial(analyse, archive=archive, decoder=decoder, decoding=Turns(settings.decoding.workers))
        served = await services(settings, store)
        # all parts before the first of them is ready: the role is when all are
        parts = {service: (shared.part(f"model of {service}"), shared.part(service)) for service in served}
        speaking = []
        for service, own in served.items():
            follower = follower_for(settings, service, own, store, log, parts[service][0])
            models = await unless(stop, follower.start())
            if models is None:
                return
            stack.push_async_callback(models.close)
            speaking.append((follower, models))
        await together(
            stop,
            *(follower.follow(models, stop) for follower, models in speaking),
            *(
                _analyse(
                    partial(step, models=models, predicting=Turns(settings.models.batch)),
                    models.service,
                    settings,
                    stop,
                    parts[models.service][1],
                )
                for _, models in speaking
            ),
        )


def analysing_name(service: str) -> str:
    """Of the step that analyses for it: its consumer group, and the word by which it knows what it has parked itself."""
    return "analyse" if service == CHEST_RADIOGRAPH_FINDINGS else f"analyse.{service}"


async def _analyse(
    step: Callable[..., Awaitable[Sequence[Outgoing]]], service: str, settings: Settings, stop: asyncio.Event, part: Part
) -> None:
    """A service that is named later begins with what comes from then on, not with what is kept of the past."""
    name = analysing_name(service)
    read = [topics.REQUESTS_STAT, topics.REQUESTS, topics.REQUESTS_BULK]
    runner = window(name, settings, from_now=service != CHEST_RADIOGRAPH_FINDINGS)
    await run_step(name, lambda cases: partial(step, kept=cases), read, runner, settings, stop, part)


def reporting_site(settings: Settings) -> ReportingSite:
    """What of the site is in a report."""
    from schemas.renderings.fhir.references import Site

    of = settings.site
    return Site(assigner=of.default_assigner, systems=of.identifier_systems, language=of.language)


async def report(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.steps.report import report

    step = partial(report, site=reporting_site(settings))
    read = [topics.RESULTS]
    await run_step("report", lambda cases: partial(step, positions=cases), read, faust("report", settings), settings, stop, health)


async def project(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.steps.project import TOPICS, project

    def step(cases: SqlCaseStore) -> Step:
        return partial(project, cases=cases)

    read = [topic for topic in topics.ALL if topic.name in TOPICS]
    await run_step("project", step, read, faust("project", settings), settings, stop, health)


def timers_for(cases: CaseStore, policy: Policy) -> Mapping[str, Timer]:
    """All that a step ever waits for, by its reason."""
    from streams.discrepancies import ESCALATION, not_acknowledged_in_time
    from streams.late import DEADLINE
    from streams.recalls import RECALL, recall_goes_on
    from streams.steps.correlate import deadline_passed, order_wait_over
    from streams.telling import ORDER_AWAITED

    return {
        ORDER_AWAITED: partial(order_wait_over, cases=cases, policy=policy),
        DEADLINE: partial(deadline_passed, cases=cases),
        ESCALATION: partial(not_acknowledged_in_time, cases=cases),
        RECALL: partial(recall_goes_on, cases=cases),
    }


async def due(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.due import run_sweeper

    policy = await policy_for(settings)
    async with log_and_cases(settings) as (log, cases):
        timers = timers_for(cases, policy)
        health.set("ready")
        interval = timedelta(seconds=settings.correlation.sweep_interval_s)
        await run_sweeper(cases, log, SystemClock(), timers, stop=stop, interval=interval)

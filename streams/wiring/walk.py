"""The steps of a message's walk that stay inside: what each role's process runs.

Imports are made inside each function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from streams import topics
from streams.clock import SystemClock
from streams.health import Health
from streams.settings import Settings
from streams.wiring.clients import archive_for, decoder_for, gated, log_and_cases, model_for
from streams.wiring.running import faust, run_step, window

if TYPE_CHECKING:
    from connectors.case_store import SqlCaseStore
    from schemas.ports import Step
    from streams.case_state import Policy


async def normalise(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.answering import Answering
    from streams.steps.normalise import normalise
    from streams.tally import Tally

    tally = Tally(settings.run_folder, "work-normalise")
    step = Answering(partial(normalise, site=settings.site), settings.admission, settings.site.default_charset, tally)
    runner = faust("normalise", settings)
    await run_step("normalise", lambda _: step, [topics.HL7_RAW], runner, settings, stop, health, step.refusal)


def _policy(settings: Settings) -> Policy:
    from streams.case_state import Policy

    correlation = settings.correlation
    return Policy(
        order_wait=timedelta(seconds=correlation.order_wait_s),
        without_order=correlation.without_order,
        deadline=None if correlation.deadline_s is None else timedelta(seconds=correlation.deadline_s),
        news=settings.news,
    )


async def correlate(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.steps.correlate import correlate

    def step(cases: SqlCaseStore) -> Step:
        return partial(correlate, cases=cases, policy=_policy(settings))

    read = [topics.ORDERS, topics.PATIENTS, topics.STUDIES, topics.RESULTS]
    await run_step("correlate", step, read, faust("correlate", settings), settings, stop, health)


async def analyse(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.models_in_use import InUse, ModelsInUse
    from streams.steps.analyse import analyse
    from streams.steps.choosing import IntendedUse
    from streams.turns import Turns

    async def nothing() -> None:
        """Model and gate are closed here."""

    with closing(decoder_for(settings)) as decoder, closing(archive_for(settings)) as archive:  # decoders start beside torch
        model = await asyncio.to_thread(model_for, settings)
        use = model.card.intended_use
        intended_use = IntendedUse(
            modalities=use.modalities,
            body_parts=use.body_parts,
            view_positions=use.views,
            body_part_required=use.body_part_required,
            view_required=use.view_required,
            minimum_age_years=use.minimum_age_years,
            maximum_age_years=use.maximum_age_years,
            portable=use.portable,
            words=settings.choosing,
        )
        read = [topics.REQUESTS_STAT, topics.REQUESTS, topics.REQUESTS_BULK]
        with closing(model), gated(model, settings) as seeing:
            step = partial(
                analyse,
                archive=archive,
                decoder=decoder,
                models=ModelsInUse(InUse(seeing, intended_use, nothing)),
                decoding=Turns(settings.decoding.workers),
                predicting=Turns(),
            )
            runner = window("analyse", settings)
            await run_step("analyse", lambda cases: partial(step, kept=cases), read, runner, settings, stop, health)


async def report(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from schemas.renderings.fhir.references import Site
    from streams.steps.report import report

    step = partial(report, site=Site(assigner=settings.site.default_assigner))
    await run_step("report", lambda _: step, [topics.RESULTS], faust("report", settings), settings, stop, health)


async def project(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.steps.project import TOPICS, project

    def step(cases: SqlCaseStore) -> Step:
        return partial(project, cases=cases)

    read = [topic for topic in topics.ALL if topic.name in TOPICS]
    await run_step("project", step, read, faust("project", settings), settings, stop, health)


async def due(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.due import Timer, run_sweeper
    from streams.late import DEADLINE
    from streams.steps.correlate import deadline_passed, order_wait_over
    from streams.telling import ORDER_AWAITED

    async with log_and_cases(settings) as (log, cases):
        timers: dict[str, Timer] = {
            ORDER_AWAITED: partial(order_wait_over, cases=cases, policy=_policy(settings)),
            DEADLINE: partial(deadline_passed, cases=cases),
        }
        health.set("ready")
        interval = timedelta(seconds=settings.correlation.sweep_interval_s)
        await run_sweeper(cases, log, SystemClock(), timers, stop=stop, interval=interval)

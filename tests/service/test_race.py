"""Order and study of one accession number at the same moment, in two processes that share one SQLite file."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.synchronize
from collections import defaultdict
from pathlib import Path

import pytest

from connectors.case_store import SqlCaseStore
from schemas.events import OrderEvent
from schemas.study_events import AnalysisRequested, StudyCompleted
from streams.case_state import Policy
from streams.steps.correlate import correlate
from tests.unit.cases import order, record_of, study

TRIES = 1000

Request = tuple[str, str, bytes]


def order_side(number: int) -> OrderEvent:
    return order(placer=f"P{number}", accession=f"A{number}")


def study_side(number: int) -> StudyCompleted:
    return study(f"1.2.{number + 1}", accession=f"A{number}", at=0.01)


def one_side(
    url: str,
    side: str,
    barrier: multiprocessing.synchronize.Barrier,
    results: multiprocessing.SimpleQueue[list[Request] | str],
) -> None:
    """A process that meets the other one at the barrier before each try, and hands over all requests it made."""

    async def run() -> list[Request]:
        store = SqlCaseStore(url)
        made: list[Request] = []
        for number in range(TRIES):
            event = order_side(number) if side == "order" else study_side(number)
            record = record_of(event, number)
            barrier.wait(60)
            for out in await correlate(record, cases=store, policy=Policy()):
                request = AnalysisRequested.model_validate_json(out.value)
                made.append((request.subject.study_instance_uid, str(request.id), out.value))
        await store.close()
        return made

    try:
        results.put(asyncio.run(run()))
    except BaseException as error:
        results.put(f"{side}: {type(error).__name__}")
        barrier.abort()
        raise


@pytest.mark.timeout(240)
def test_joined_in_each_of_1000_tries(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.SimpleQueue()
    url = f"sqlite:///{tmp_path / 'cases.db'}"
    processes = [context.Process(target=one_side, args=(url, side, barrier, results)) for side in ("order", "study")]
    for process in processes:
        process.start()
    handed_over = [results.get() for _ in processes]
    for process in processes:
        process.join(60)
    assert not [error for error in handed_over if isinstance(error, str)]

    by_study: dict[str, set[tuple[str, bytes]]] = defaultdict(set)
    told_by = [{uid for uid, _, _ in made} for made in handed_over]
    for uid, request_id, value in (request for made in handed_over for request in made):
        by_study[uid].add((request_id, value))
    assert set(by_study) == {study_side(number).study_instance_uid for number in range(TRIES)}
    for number in range(TRIES):
        ((_, value),) = by_study[study_side(number).study_instance_uid]  # one id, the same bytes
        (reference,) = AnalysisRequested.model_validate_json(value).subject.orders
        assert reference.placer_order_number == order_side(number).placer_order_number
    # the barrier was worth its name: now one came first, now the other
    assert all(told_by), [len(uids) for uids in told_by]

"""Who recalls a model sees that every worker which spoke with it has stopped."""

from __future__ import annotations

import asyncio

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, ModelIdentity
from streams.promotion.acts import ended, taken
from streams.promotion.stopping import stopped_by_all
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.followers import log, told, until
from tests.unit.packages import NOW, OWN, Packages, promote, recall, worker

__all__ = ["log"]


async def test_each_worker_that_used_it_says_what_it_uses_now(log: FakeEventLog) -> None:
    lines: list[str] = []
    await promote(log, "nodules/2")
    async with worker(log, Packages.of(OWN, "nodules/2")):
        await until(lambda: told(log))
        await recall(log, "nodules/2")
        assert await stopped_by_all(log, "nodules/2", 5, lines.append, {})
        assert lines == [f"analyse-here uses {OWN} now."]
        await recall(log, OWN)
        assert await stopped_by_all(log, OWN, 5, lines.append, {})
        assert lines[1:] == ["analyse-here uses nothing now."]


async def test_one_that_ended_and_those_that_use_another(log: FakeEventLog) -> None:
    lines: list[str] = []
    async with worker(log, Packages.of(OWN)):
        await until(lambda: told(log))
        await recall(log, "nodules/9")
        assert await stopped_by_all(log, "nodules/9", 5, lines.append, {})
        assert lines == []
        stop = asyncio.create_task(stopped_by_all(log, "nodules/8", 5, lines.append, {}))
        await recall(log, "nodules/8")
        assert await stop


async def test_one_that_says_nothing_is_named(log: FakeEventLog) -> None:
    of = ModelIdentity(name="nodules", version="2", weights_sha256="b" * 64)
    lines: list[str] = []
    await log.append([taken("analyse-there", CHEST_RADIOGRAPH_FINDINGS, of, None, NOW)])
    await recall(log, "nodules/2")
    assert not await stopped_by_all(log, "nodules/2", 0.05, lines.append, {})
    assert lines == ["analyse-there has not said within 0.05 s that it stopped: radstream model list, radstream doctor."]
    await log.append([ended("analyse-there", CHEST_RADIOGRAPH_FINDINGS, NOW)])
    assert await stopped_by_all(log, "nodules/2", 5, lines.append, {})
    assert lines[1:] == [f"worker.analyse-there.{CHEST_RADIOGRAPH_FINDINGS} has ended."]

"""A recalled model speaks no more: not in the middle of its work, not after a restart, not when somebody promotes it."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from schemas.errors import ModelFailed, ModelUnavailable, ObjectStoreUnavailable
from schemas.model_events import ModelTaken
from streams import topics
from streams.promotion.acts import NOT_LOADED, Acts
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.followers import NEW, log, told, until
from tests.unit.packages import OWN, Packages, Told, follower, model, promote, recall, worker

__all__ = ["log"]

OLDER = "nodules/0"


async def test_the_one_promoted_before_speaks_and_a_person_is_told(log: FakeEventLog) -> None:
    packages = Packages.of(OWN, OLDER, NEW)
    await promote(log, OLDER)
    await promote(log, NEW)
    with structlog.testing.capture_logs() as logs:
        async with worker(log, packages) as here:
            await until(lambda: told(log) == [(NEW, True)])
            async with here.models.lease() as under_way:
                await recall(log, NEW)
                await until(lambda: told(log)[-1] == (OLDER, False))
                assert under_way.reference == NEW, "an analysis is made by one model; what it says is withdrawn"
                assert here.uses == OLDER
            assert "was recalled by Dr B" in here.health.reason and f"{OLDER} goes on" in here.health.reason
    assert packages.closed == [NEW, OLDER]
    assert "it misses" not in str(logs), "what a person wrote may name a patient"
    assert [line["log_level"] for line in logs if line["event"] == "a promoted model is not used"] == ["error"]


async def test_else_that_of_the_settings_and_after_a_restart_the_same(log: FakeEventLog) -> None:
    packages = Packages.of(OWN, NEW)
    await promote(log, NEW)
    for times in (1, 2):
        async with worker(log, packages) as here:
            if times == 1:
                await recall(log, NEW)
            await until(lambda: told(log)[-1:] == [(OWN, False)])
            assert here.uses == OWN
    assert packages.loads == [NEW, OWN, OWN], "after a restart it is not so much as loaded"


async def test_where_only_recalled_ones_are_left_nothing_speaks(log: FakeEventLog) -> None:
    packages = Packages.of(OWN, NEW)
    await promote(log, NEW)
    await recall(log, OWN)
    async with worker(log, packages) as here:
        await until(lambda: told(log) == [(NEW, True)])
        await recall(log, NEW)
        await until(lambda: told(log)[-1] == (NEW, False))
        with pytest.raises(ModelUnavailable, match="nothing speaks for .*: was recalled by Dr B: promote another version"):
            async with here.models.lease():
                pytest.fail("a recalled model answers")
        assert here.health.state == "paused"
        packages.there[OLDER] = model(OLDER)
        await promote(log, OLDER)
        await until(lambda: told(log)[-1] == (OLDER, True))
        assert (here.uses, here.health.state, here.health.reason) == (OLDER, "ready", "")
    assert OWN not in packages.loads


async def test_after_a_restart_too_nothing_speaks_until_another_is_promoted(log: FakeEventLog) -> None:
    await recall(log, OWN)
    packages = Packages.of(OWN, NEW)
    async with worker(log, packages) as here:
        await until(lambda: told(log) == [(OWN, False)])
        assert (here.models.speaks, here.health.state) == (False, "paused")
        assert packages.loads == []
        (said,) = [one for one in log.records(topics.MODELS.name) if one.header("ce_type") == ModelTaken.TYPE]
        assert ModelTaken.model_validate_json(said.value).weights_sha256 == NOT_LOADED
        await promote(log, NEW)
        await until(lambda: told(log)[-1] == (NEW, True))
        assert here.uses == NEW


async def test_it_stops_at_once_whatever_is_loaded_in_its_place(log: FakeEventLog) -> None:
    packages = Packages.of(OWN, NEW)
    await promote(log, NEW)
    async with worker(log, packages) as here:
        await until(lambda: told(log))
        packages.gate.clear()
        await recall(log, NEW)
        await until(lambda: packages.under_way)
        assert not here.models.speaks
        packages.gate.set()
        await until(lambda: told(log)[-1] == (OWN, False))


async def test_recalled_while_it_is_loaded_it_never_speaks(log: FakeEventLog) -> None:
    packages = Packages.of(OWN, NEW)
    async with worker(log, packages) as here:
        await until(lambda: told(log))
        packages.gate.clear()
        await promote(log, NEW)
        await until(lambda: packages.under_way)
        await recall(log, NEW)
        for _ in range(5):
            await asyncio.sleep(0)
        packages.gate.set()
        await until(lambda: told(log)[-1] == (OWN, False))
        assert here.uses == OWN
        assert packages.closed == [NEW]


async def test_who_promotes_it_all_the_same_changes_nothing(log: FakeEventLog) -> None:
    packages = Packages.of(OWN, NEW)
    await recall(log, NEW)
    async with worker(log, packages) as here:
        await until(lambda: told(log) == [(OWN, True)])
        await promote(log, NEW)
        await until(lambda: told(log)[-1] == (OWN, False))
        assert here.uses == OWN and "was recalled" in here.health.reason
    assert packages.loads == [OWN]


async def test_what_would_speak_in_its_place_is_tried_again_when_its_store_is_back(log: FakeEventLog) -> None:
    packages = Packages.of(NEW)
    packages.there[OLDER] = ObjectStoreUnavailable("objects", OLDER, "does not answer")
    for reference in (OLDER, NEW):
        await promote(log, reference)
    await recall(log, OWN)
    async with worker(log, packages) as here:
        await until(lambda: told(log))
        await recall(log, NEW)
        await until(lambda: packages.loads.count(OLDER) >= 2)
        assert not here.models.speaks
        packages.there[OLDER] = model(OLDER)
        await until(lambda: told(log)[-1] == (OLDER, False))
        assert here.uses == OLDER and here.health.state == "ready"


async def test_the_package_of_the_settings_that_is_broken_stops_the_start_as_ever(log: FakeEventLog) -> None:
    packages = Packages.of()
    packages.there[OWN] = ModelFailed("load", OWN, "it is damaged")
    await promote(log, NEW)
    await recall(log, NEW)
    with pytest.raises(ModelFailed, match="damaged"):
        await follower(log, packages, Told()).start()
    assert packages.loads == [OWN]


async def test_while_nothing_else_works_a_strange_package_ends_no_process(log: FakeEventLog) -> None:
    packages = Packages.of(NEW)
    packages.there[OWN] = RuntimeError("Secret")
    await promote(log, NEW)
    async with worker(log, packages) as here:
        await until(lambda: told(log))
        await recall(log, NEW)
        await until(lambda: told(log)[-1] == (NEW, False))
        assert here.health.state == "paused"
        assert "it cannot be loaded: RuntimeError" in here.health.reason and "Secret" not in here.health.reason


async def test_recalls_are_kept_by_the_fold(log: FakeEventLog) -> None:
    await recall(log, NEW)
    await recall(log, OLDER)
    acts = Acts()
    for record in log.records(topics.MODELS.name):
        acts.see(record)
    assert {key: event.reason for key, event in acts.recalled.items()} == {NEW: "it misses", OLDER: "it misses"}

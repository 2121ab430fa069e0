"""A worker follows promotions: the last one that works speaks, and no trouble with another disturbs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import structlog

from schemas.errors import BrokerUnavailable, ModelFailed, ObjectStoreUnavailable, SettingsInvalid
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.promotion.acts import Acts
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.followers import NEW, log, told, until
from tests.unit.packages import OWN, Packages, Told, follower, model, promote, worker

__all__ = ["log"]


async def test_without_a_promotion_the_settings_say(log: FakeEventLog) -> None:
    async with worker(log, Packages.of(OWN, NEW)) as here:
        await until(lambda: told(log))
        assert here.uses == OWN
        assert (here.health.state, here.health.reason) == ("ready", "")
    assert told(log) == [(OWN, True)]


async def test_a_promotion_is_taken_and_the_old_one_closed(log: FakeEventLog) -> None:
    packages = Packages.of(OWN, NEW)
    async with worker(log, packages) as here:
        await until(lambda: told(log))
        async with here.models.lease() as first:
            await promote(log, NEW)
            await until(lambda: (NEW, True) in told(log))
            assert first.reference == OWN
            assert packages.closed == []
        await until(lambda: packages.closed == [OWN])
        assert here.uses == NEW
    assert packages.closed == [OWN, NEW]
    assert told(log) == [(OWN, True), (NEW, True)]


async def test_a_restart_begins_with_what_was_promoted_last(log: FakeEventLog) -> None:
    await promote(log, "nodules/3")
    await promote(log, NEW)
    packages = Packages.of(OWN, NEW, "nodules/3")
    async with worker(log, packages) as here:
        await until(lambda: told(log))
        assert here.uses == NEW
    assert packages.loads == [NEW]


async def test_rolling_back_is_promoting_the_older_one(log: FakeEventLog) -> None:
    async with worker(log, Packages.of(OWN, NEW)) as here:
        for reference in (NEW, OWN, NEW, OWN):
            await promote(log, reference)
            await until(lambda: here.uses == reference)  # noqa: B023 - awaited here
        await until(lambda: told(log)[-1:] == [(OWN, True)])
    assert told(log)[-4:] == [(NEW, True), (OWN, True), (NEW, True), (OWN, True)]


async def test_another_service_is_not_ours(log: FakeEventLog) -> None:
    packages = Packages.of(OWN, NEW)
    async with worker(log, packages) as here:
        await promote(log, "devices/4", service="devices")
        await promote(log, NEW)
        await until(lambda: here.uses == NEW)
    assert packages.loads == [OWN, NEW]


async def test_of_several_in_quick_succession_the_last_one_wins_and_one_is_loaded_at_a_time(log: FakeEventLog) -> None:
    packages = Packages.of(OWN, *(f"nodules/{n}" for n in range(2, 9)))
    async with worker(log, packages) as here:
        packages.gate.clear()
        for number in range(2, 9):
            await promote(log, f"nodules/{number}")
            await until(lambda: packages.under_way == 1)
        packages.gate.set()
        await until(lambda: here.uses == "nodules/8")
        await until(lambda: told(log)[-1] == ("nodules/8", True))
    assert packages.most == 1
    assert packages.loads == [OWN, "nodules/2", "nodules/8"], "those between were never needed"
    assert sorted(packages.closed) == [OWN, "nodules/2", "nodules/8"]


TROUBLE = {
    "missing": SettingsInvalid("load", NEW, "there is no such package"),
    "broken": ModelFailed("load", NEW, "weights.safetensors does not have the card's SHA-256"),
    "strange": RuntimeError("Secret"),
    "too large": MemoryError(),
}


@pytest.mark.parametrize("trouble", TROUBLE)
async def test_a_package_that_cannot_be_used_leaves_the_old_one_running_and_calls_a_person(log: FakeEventLog, trouble: str) -> None:
    packages = Packages.of(OWN)
    packages.there[NEW] = TROUBLE[trouble]
    with structlog.testing.capture_logs() as logs:
        async with worker(log, packages) as here:
            await promote(log, NEW)
            await until(lambda: (OWN, False) in told(log))
            assert here.uses == OWN
            assert here.health.state == "ready"
            assert f"{NEW} was promoted and is not used, {OWN} goes on" in here.health.reason
            assert "Secret" not in here.health.reason
            packages.there["nodules/3"] = model("nodules/3")
            await promote(log, "nodules/3")
            await until(lambda: ("nodules/3", True) in told(log))
            assert here.health.reason == ""
    assert [line["log_level"] for line in logs if line["event"] == "a promoted model is not used"] == ["error"]
    assert packages.loads == [OWN, NEW, "nodules/3"], "it is not tried again and again"
    assert packages.closed == [OWN, "nodules/3"]


async def test_the_same_broken_package_promoted_again_calls_a_person_again(log: FakeEventLog) -> None:
    """Whoever promotes it a second time believes that it was mended."""
    packages = Packages.of(OWN)
    packages.there[NEW] = ModelFailed("load", NEW, "it is damaged")
    with structlog.testing.capture_logs() as logs:
        async with worker(log, packages) as here:
            for times in (1, 2):
                await promote(log, NEW)
                await until(lambda: told(log).count((OWN, False)) == times)  # noqa: B023 - awaited here
            assert here.uses == OWN
    assert len([line for line in logs if line["event"] == "a promoted model is not used"]) == 2
    assert packages.loads == [OWN, NEW, NEW]


async def test_a_broken_promotion_at_start_gives_way_to_what_a_person_had_promoted_before(log: FakeEventLog) -> None:
    for reference in (OWN, "nodules/4", NEW, "nodules/3"):
        await promote(log, reference)
    packages = Packages.of(OWN, "nodules/4", NEW)
    packages.there["nodules/3"] = ModelFailed("load", "nodules/3", "damaged")
    packages.there[NEW] = ModelFailed("load", NEW, "damaged too")
    async with worker(log, packages) as here:
        await until(lambda: told(log) == [("nodules/4", False)])
        assert here.uses == "nodules/4"
        assert "nodules/3" in here.health.reason and "nodules/4 goes on" in here.health.reason
    assert packages.loads == ["nodules/3", NEW, "nodules/4"]


async def test_a_package_that_was_changed_since_it_was_approved_is_refused(log: FakeEventLog) -> None:
    packages = Packages.of(OWN, NEW)
    async with worker(log, packages) as here:
        await promote(log, NEW, weights="f" * 64)
        await until(lambda: (OWN, False) in told(log))
        assert here.uses == OWN
        assert "not what was approved" in here.health.reason
    assert packages.closed == [NEW, OWN]


async def test_a_package_that_says_another_service_is_refused(log: FakeEventLog) -> None:
    packages = Packages.of(OWN)
    packages.there[NEW] = model(NEW, service="devices")
    async with worker(log, packages) as here:
        await promote(log, NEW)
        await until(lambda: (OWN, False) in told(log))
        assert here.uses == OWN


async def test_a_broken_promotion_at_start_gives_way_to_the_settings_and_calls_a_person(log: FakeEventLog) -> None:
    await promote(log, NEW)
    packages = Packages.of(OWN)
    async with worker(log, packages) as here:
        await until(lambda: told(log) == [(OWN, False)])
        assert here.uses == OWN
        assert NEW in here.health.reason
    assert packages.loads == [NEW, OWN]


async def test_the_package_of_the_settings_does_not_speak_when_it_was_promoted_and_then_changed(log: FakeEventLog) -> None:
    """The name that a person approved would stand under what another package says."""
    await promote(log, OWN, weights="f" * 64)
    packages = Packages.of(OWN)
    with pytest.raises(ModelFailed, match="not what was approved"):
        await follower(log, packages, Told()).start()
    assert packages.closed == [OWN]


async def test_settings_that_name_a_package_of_another_service(log: FakeEventLog) -> None:
    packages = Packages.of(OWN)
    with pytest.raises(ModelFailed, match="devices"):
        await follower(log, packages, Told(), service="devices").start()
    assert packages.closed == [OWN]


async def test_a_store_that_is_away_is_asked_again_and_its_package_taken_when_it_is_back(log: FakeEventLog) -> None:
    packages = Packages.of(OWN)
    packages.there[NEW] = ObjectStoreUnavailable("objects", NEW, "does not answer")
    with structlog.testing.capture_logs() as logs:
        async with worker(log, packages) as here:
            await promote(log, NEW)
            await until(lambda: packages.loads.count(NEW) >= 3)
            assert here.uses == OWN
            assert "does not answer" in here.health.reason
            packages.there[NEW] = model(NEW)
            await until(lambda: (NEW, True) in told(log))
            assert (here.uses, here.health.reason) == (NEW, "")
    assert [line["log_level"] for line in logs if line["event"] == "a promoted model is not used"] == ["error"]
    assert told(log)[-2:] == [(OWN, False), (NEW, True)]


async def test_the_same_again_is_harmless_and_is_answered(log: FakeEventLog) -> None:
    packages = Packages.of(OWN)
    async with worker(log, packages) as here:
        await until(lambda: len(told(log)) == 1)
        await promote(log, OWN)
        await until(lambda: len(told(log)) == 2)
        assert here.uses == OWN
    assert packages.loads == [OWN]
    assert told(log) == [(OWN, True)] * 2


async def test_what_a_worker_uses_is_told_when_the_log_can_be_written_again(log: FakeEventLog) -> None:
    class Flaky(FakeEventLog):
        writes = 0

        async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
            self.writes += 1
            if self.writes % 3:
                raise BrokerUnavailable("append", topics.MODELS.name, "the broker is away")
            return await super().append(records)

    flaky = Flaky()
    flaky.create(topics.MODELS.name, partitions=1)
    flaky.create(topics.AUDIT.name, partitions=1)
    packages = Packages.of(OWN)
    async with worker(flaky, packages) as here:
        await until(lambda: told(flaky) == [(OWN, True)])
        assert here.health.state == "ready"
    assert packages.loads == [OWN]


async def test_what_is_no_act_is_passed_over(log: FakeEventLog) -> None:
    with structlog.testing.capture_logs() as logs:
        async with worker(log, Packages.of(OWN, NEW)) as here:
            await log.append([Outgoing(topics.MODELS.name, b"nodules", b"Secret", ())])
            await promote(log, NEW)
            await until(lambda: here.uses == NEW)
    (line,) = [line for line in logs if line["event"] == "an act about a model cannot be read"]
    assert "Secret" not in str(line)


async def test_a_broker_that_comes_back_tells_what_was_missed() -> None:
    class Away(FakeEventLog):
        broken = asyncio.Event()
        tries = 0

        async def read(self, topic: str, *, follow: bool = False, last: int | None = None) -> AsyncIterator[Record]:
            self.tries += 1
            self._reach("read", topic)
            reading = super().read(topic, follow=follow, last=last)
            while True:
                step = asyncio.ensure_future(anext(reading, None))
                gone = asyncio.ensure_future(self.broken.wait())
                await asyncio.wait((step, gone), return_when=asyncio.FIRST_COMPLETED)
                gone.cancel()
                if not step.done():
                    step.cancel()
                    raise BrokerUnavailable("read", topic, "the broker is away")
                if (record := step.result()) is None:
                    return
                yield record

        async def several_tries(self) -> None:
            before = self.tries
            await until(lambda: self.tries >= before + 3)

    log = Away()
    log.create(topics.MODELS.name, partitions=1)
    log.create(topics.AUDIT.name, partitions=1)
    packages = Packages.of(OWN, NEW)
    async with worker(log, packages) as here:
        await until(lambda: told(log) == [(OWN, True)])
        log.broken.set()
        log.away = True
        async with here.models.lease() as in_use:
            assert in_use.reference == OWN, "analysing goes on"
        await log.several_tries()
        log.away = False
        await promote(log, NEW)
        log.away = True
        await log.several_tries()
        assert here.uses == OWN
        log.broken.clear()
        log.away = False
        await until(lambda: told(log) == [(OWN, True), (NEW, True)])
        assert here.uses == NEW


async def test_a_worker_that_ends_says_so(log: FakeEventLog) -> None:
    acts = Acts()
    async with worker(log, Packages.of(OWN)):
        await until(lambda: told(log))
        for record in log.records(topics.MODELS.name):
            acts.see(record)
        assert [taken.event.worker for taken in acts.workers.values()] == ["analyse-here"]
    for record in log.records(topics.MODELS.name):
        acts.see(record)
    assert acts.workers == {}

"""What runs in the shadow, and what becomes of a record there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from schemas.case_store import Due
from schemas.errors import ArchiveUnavailable, ItemNotServed, MalformedMessage, ModelFailed, SettingsInvalid, StudyIncomplete
from schemas.findings import Findings
from schemas.model_events import ModelShadowed
from schemas.ports import Outgoing, Record, Step
from streams import topics
from streams.clock import SystemClock
from streams.due import PARKED_BY
from streams.guard import Guard, Outcome
from streams.health import Health, Part, Shared, read_health
from streams.promotion.acts import told
from streams.shadows.sandbox import Sandbox, SandboxLog
from streams.shadows.shadow import NothingDue, Shadows, analysis_id, giving_up, shadowed, step_name
from streams.steps.analyse import analyse
from streams.turns import Turns
from tests.contract.example_images import radiograph
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.test_image_decoders import InProcessDecoder
from tests.unit.analyses import ScriptedModel, record_of, stored, using
from tests.unit.packages import CLOCK, model

NEXT, OTHER = Sandbox("next"), Sandbox("other")


@pytest.fixture
def log() -> FakeEventLog:
    log = FakeEventLog(*(topic.name for topic in (*topics.ALL, *NEXT.topics, *OTHER.topics)))
    log.create(topics.MODELS.name, partitions=1)
    return log


def act(sandbox: Sandbox = NEXT, reference: str = "nodules/2", *, over: bool = False) -> ModelShadowed:
    of = model(reference)
    return shadowed(of.identity, of.service, sandbox.name, approved_by="Dr A", reason="better", at=CLOCK.now(), ended=over)


# ---------------------------------------------------------------------------------------------------------- one record


async def outcome_of(step: Step, record: Record, log: FakeEventLog) -> Outcome:
    guard = Guard("analyse.shadow.next", giving_up(step), SandboxLog(log, NEXT), NothingDue(), SystemClock(), asyncio.Event())
    return await guard(record)


def written(log: FakeEventLog) -> dict[str, int]:
    return {topic: len(records) for topic in log.topics if (records := log.records(topic))}


async def test_the_real_step_in_a_sandbox(log: FakeEventLog) -> None:
    archive, request = await stored(radiograph())
    step = partial(
        analyse,
        archive=archive,
        decoder=InProcessDecoder(),
        models=using(ScriptedModel()),
        decoding=Turns(),
        predicting=Turns(),
        kept=None,
        results=NEXT.results,
        name=partial(analysis_id, NEXT.name),
    )
    record = record_of(request)
    assert await outcome_of(step, record, log) is Outcome.DONE
    assert written(log) == {NEXT.results.name: 1}
    (result,) = log.records(NEXT.results.name)
    said = Findings.model_validate_json(result.value)
    assert (said.subject, len(said.findings)) == (request.subject, 2)
    assert said.analysis_id == analysis_id("next", request, said.service) != request.id
    assert result.header("cause") == str(record.place)
    assert result.header("ce_id") == str(said.analysis_id)
    assert analysis_id("other", request, said.service) != said.analysis_id


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StudyIncomplete("analyse", "1.2", "is not there"), "StudyIncomplete: is not there; a shadow does not come back"),
        (ItemNotServed("analyse", "1.2", "is not served"), "ItemNotServed: is not served; a shadow does not come back"),
        (ModelFailed("analyse", "1.2", "gave nothing"), "gave nothing"),
        (MalformedMessage("analyse", "1.2", "is none"), "is none"),
        (RuntimeError("a bug"), "unexpected"),
    ],
)
async def test_what_it_cannot_do_is_a_dead_letter_of_the_sandbox(log: FakeEventLog, error: Exception, reason: str) -> None:
    _, request = await stored(radiograph())

    async def fails(record: Record) -> Sequence[Outgoing]:
        raise error

    assert await outcome_of(fails, record_of(request), log) is Outcome.DEAD_LETTER
    assert written(log) == {NEXT.dead_letters.name: 1}
    (letter,) = log.records(NEXT.dead_letters.name)
    assert reason in (letter.header("reason") or "")
    assert letter.header("step") == "analyse.shadow.next"


async def test_a_step_that_writes_elsewhere_writes_nothing(log: FakeEventLog) -> None:
    _, request = await stored(radiograph())

    async def strays(record: Record) -> Sequence[Outgoing]:
        return [Outgoing(NEXT.results.name, b"k", b"v"), Outgoing(topics.RESULTS.name, b"k", b"v")]

    assert await outcome_of(strays, record_of(request), log) is Outcome.DEAD_LETTER
    assert written(log) == {NEXT.dead_letters.name: 1}


async def test_what_the_real_step_parked_and_tries_again_is_its_own(log: FakeEventLog) -> None:
    _, request = await stored(radiograph())

    async def never(record: Record) -> Sequence[Outgoing]:
        raise AssertionError("seen twice")

    assert await outcome_of(never, replace(record_of(request), headers=((PARKED_BY, b"analyse"),)), log) is Outcome.DONE
    assert written(log) == {}


async def test_nothing_can_be_parked() -> None:
    with pytest.raises(AssertionError, match="parked"):
        await NothingDue().put_due(Due(id=act().id, reason="r", case="c", not_before=CLOCK.now(), step="analyse"))


def test_each_act_has_a_place_of_its_own_on_the_log() -> None:
    first, again = act(), act()
    assert step_name(first) != step_name(again)
    assert step_name(first).startswith("analyse.shadow.next.")
    assert step_name(ModelShadowed.model_validate_json(first.model_dump_json())) == step_name(first)


# ------------------------------------------------------------------------------------------------------ which ones run


@dataclass
class Runs:
    """Shadows that run by a script: what fails is in `errors`, by NAME/VERSION, one for each try."""

    begun: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    errors: dict[str, list[Exception]] = field(default_factory=dict)

    async def run(self, act: ModelShadowed, stop: asyncio.Event, part: Part) -> None:
        name = f"{act.sandbox}:{act.name}/{act.version}"
        self.begun.append(name)
        if self.errors.get(name):
            raise self.errors[name].pop(0)
        self.running.append(name)
        try:
            part.set("ready")
            await stop.wait()
            await asyncio.sleep(0.01)  # what is in flight may end
        finally:
            self.running.remove(name)


@asynccontextmanager
async def following(log: FakeEventLog, runs: Runs, folder: Path) -> AsyncIterator[None]:
    stop = asyncio.Event()
    shadows = Shadows(runs.run, log, Shared(Health(folder, "work-shadow")), first_pause_s=0.01, longest_pause_s=0.02)
    task = asyncio.create_task(shadows.follow(stop))
    try:
        yield
    finally:
        stop.set()
        await task
        assert runs.running == []


async def write(log: FakeEventLog, *acts: ModelShadowed) -> None:
    for one in acts:
        await log.append(told(one, Sandbox(one.sandbox).key))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def health(folder: Path) -> tuple[str, str]:
    found = read_health(folder).get("work-shadow")
    return (found.state, found.reason) if found else ("starting", "")


async def test_several_begin_and_each_ends_alone(log: FakeEventLog, tmp_path: Path) -> None:
    runs = Runs()
    async with following(log, runs, tmp_path):
        await until(lambda: health(tmp_path) == ("ready", ""))
        assert runs.running == []
        await write(log, act(), act(OTHER, "nodules/3"))
        await until(lambda: sorted(runs.running) == ["next:nodules/2", "other:nodules/3"])
        await write(log, act(over=True))
        await until(lambda: runs.running == ["other:nodules/3"])
    assert runs.begun == ["next:nodules/2", "other:nodules/3"]


async def test_what_ended_before_is_not_begun_and_what_runs_is(log: FakeEventLog, tmp_path: Path) -> None:
    await write(log, act(reference="nodules/1"), act(over=True), act(OTHER), act(OTHER, over=True), act(OTHER, "nodules/4"))
    runs = Runs()
    async with following(log, runs, tmp_path):
        await until(lambda: runs.running)
    assert runs.begun == ["other:nodules/4"]


async def test_another_candidate_in_the_same_sandbox_comes_after_the_one_before(log: FakeEventLog, tmp_path: Path) -> None:
    runs = Runs()
    async with following(log, runs, tmp_path):
        await write(log, act())
        await until(lambda: runs.running == ["next:nodules/2"])
        await write(log, act(reference="nodules/3"))
        await until(lambda: "next:nodules/3" in runs.running)
        assert runs.running == ["next:nodules/3"]
        await write(log, act(reference="nodules/3", over=True))
        await until(lambda: not runs.running)
        await write(log, act(reference="nodules/3"))
        await until(lambda: runs.running == ["next:nodules/3"])
    assert runs.begun == ["next:nodules/2", "next:nodules/3", "next:nodules/3"]


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (SettingsInvalid("load", "nodules/2", "there is no such package"), "ready", "no such package"),
        (ModelFailed("load", "nodules/2", "is broken"), "ready", "is broken"),
        (ArchiveUnavailable("fetch", "archive", "is away"), "paused", "is away"),
        (ValueError("Jane Doe"), "ready", "next: ValueError"),
    ],
)
async def test_one_that_fails_is_tried_again_and_disturbs_no_other(
    log: FakeEventLog, tmp_path: Path, error: Exception, state: str, words: str
) -> None:
    runs = Runs(errors={"next:nodules/2": [error] * 3})
    seen: list[tuple[str, str]] = []
    async with following(log, runs, tmp_path):
        await write(log, act(OTHER), act())
        await until(lambda: seen.append(health(tmp_path)) or len(runs.running) == 2)  # type: ignore[func-returns-value]
        assert health(tmp_path) == ("ready", "")
    assert runs.begun.count("next:nodules/2") == 4
    assert runs.begun.count("other:nodules/2") == 1
    assert any(one == state and words in reason and "Jane" not in reason for one, reason in seen)


async def test_one_that_fails_can_be_ended(log: FakeEventLog, tmp_path: Path) -> None:
    runs = Runs(errors={"next:nodules/2": [ModelFailed("load", "nodules/2", "is broken")] * 1000})
    async with following(log, runs, tmp_path):
        await write(log, act())
        await until(lambda: len(runs.begun) > 2)
        await write(log, act(over=True))
        await until(lambda: health(tmp_path) == ("ready", ""))
        tries = len(runs.begun)
        await asyncio.sleep(0.05)  # longer than any pause
        assert len(runs.begun) == tries


async def test_a_broker_that_goes_away_ends_nothing(log: FakeEventLog, tmp_path: Path) -> None:
    log.away = True
    runs = Runs()
    async with following(log, runs, tmp_path):
        await until(lambda: health(tmp_path)[0] == "paused")
        log.away = False
        await write(log, act())
        await until(lambda: runs.running)
        assert health(tmp_path) == ("ready", "")


async def test_what_is_no_act_is_passed_over(log: FakeEventLog, tmp_path: Path) -> None:
    runs = Runs()
    async with following(log, runs, tmp_path):
        await log.append([Outgoing(topics.MODELS.name, b"sandbox.next", b"{", (("ce_type", ModelShadowed.TYPE.encode()),))])
        await write(log, act())
        await until(lambda: runs.running)
        assert health(tmp_path)[0] == "ready"

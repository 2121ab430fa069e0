"""A replay on a real Kafka, as a process that is killed at any moment."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from connectors.kafka import KafkaLog
from connectors.kafka_admin import list_topics
from schemas.acts import ReplayBegun
from schemas.history import Span
from schemas.ports import Outgoing
from streams import topics
from streams.demo.orders import order_for
from streams.replay.manifest import ReplayFolder
from streams.replay.outbox import sandbox_of
from streams.replay.plan import Plan
from streams.replay.planning import planned
from streams.replay.replaying import Who, create
from streams.replay.selection import Selection
from streams.settings import Settings
from streams.wiring.clients import ensure_all_topics, history_for
from tests.service.replay_process import replay, said_in
from tests.unit.cases import NOON

pytestmark = [pytest.mark.service, pytest.mark.timeout(400)]

MESSAGES = 1_000
WHO = Who("Dr Test", "a test")


@pytest.fixture
def settings(kafka_bootstrap: str, tmp_path: Path) -> Settings:
    found = Settings(
        run_folder=tmp_path / "run", kafka={"bootstrap": kafka_bootstrap}, database={"url": f"sqlite:///{tmp_path / 'cases.db'}"},
        audit={"hash_key_file": tmp_path / "hash.key"},
    )  # fmt: skip
    ensure_all_topics(found)
    return found


@pytest.fixture
async def log(kafka_bootstrap: str) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(kafka_bootstrap) as log:
        yield log


_PLANS: list[Plan] = []


@pytest.fixture
async def plan(settings: Settings, log: KafkaLog) -> Plan:
    """Orders of one sender; a tenth of them say nothing new, one is no message. On the log once for all tests."""
    if _PLANS:
        return _PLANS[0]
    run = uuid4().hex[:8]
    whole = order_for("ACCESSION", patient="PATIENT", assigner="HOSPITAL", at=NOON, control_id="CONTROL")
    records = []
    for number in range(MESSAGES):
        study = number - (number % 10 == 1)
        message = whole.replace(b"ACCESSION", b"%s-%d" % (run.encode(), study)).replace(b"PATIENT", b"P-%d" % study)
        message = message.replace(b"CONTROL", b"%s-%d" % (run.encode(), number)) if number != 7 else b"nonsense"
        records.append(Outgoing(topics.HL7_RAW.name, f"RIS-{run}|H".encode(), message))
    places = [place for begin in range(0, MESSAGES, 500) for place in await log.append(records[begin : begin + 500])]
    assert len({place.partition for place in places}) == 1
    offsets = [place.offset for place in places]
    span = Span(topics.HL7_RAW.name, places[0].partition, min(offsets), max(offsets) + 1)
    _PLANS.append(await planned(Selection(places=(span,)), history_for(settings), default_charset=settings.site.default_charset))
    return _PLANS[0]


async def killed_and_resumed(settings: Settings, plan: Plan, kills: int, seed: int) -> None:
    """As many replays as it takes to be killed so often, each at any tenth of what it reads."""
    whole = f"whole-{uuid4().hex[:8]}"
    create(settings, whole, plan, WHO, through="correlate")
    code, said = await replay(settings, "resume", whole, "--rate", "0")
    assert code == 0, said
    other = await said_in(settings, whole)
    assert len(other["sandbox.NAME.imaging.orders"]) > MESSAGES - 2
    assert len(other["sandbox.NAME.radstream.dead-letters"]) == 1

    choose, killed = random.Random(seed), 0
    while killed < kills:
        name = f"killed-{uuid4().hex[:8]}"
        create(settings, name, plan, WHO, through="correlate")
        code = -9
        while code != 0:
            line = choose.randint(1, 9) if killed < kills else None
            code, said = await replay(settings, "resume", name, "--rate", "0", kill_after=line)
            assert code in (0, -9), said
            killed += code == -9
        one = await said_in(settings, name)
        assert {topic: len(records) for topic, records in one.items()} == {topic: len(records) for topic, records in other.items()}
        assert one == other


async def test_killed_at_random_moments_it_ends_as_it_would_have(settings: Settings, plan: Plan) -> None:
    await killed_and_resumed(settings, plan, 5, seed=8)


@pytest.mark.long
async def test_killed_at_twenty_random_moments_it_ends_as_it_would_have(settings: Settings, plan: Plan) -> None:
    await killed_and_resumed(settings, plan, 20, seed=9)


async def test_a_replay_is_audited_listed_and_its_name_is_used_once(settings: Settings, plan: Plan, log: KafkaLog) -> None:
    name = f"one-{uuid4().hex[:8]}"
    folder = create(settings, name, plan, WHO, through="normalise")
    assert folder.path.stat().st_mode & 0o077 == 0
    with ReplayFolder(settings, name).held():
        code, said = await replay(settings, "resume", name)
    assert (code, "in another process" in said) == (2, True), said
    code, said = await replay(settings, "resume", name, "--rate", "0", "--by", "Dr Other")
    assert code == 0, said
    assert f"{MESSAGES} records read, 1 dead letters" in said
    code, said = await replay(settings, "resume", name)
    assert (code, "is done" in said) == (2, True), said
    code, said = await replay(settings, "resume", "no-such")
    assert (code, "no replay of this name" in said) == (2, True), said
    code, said = await replay(settings, "list", "--json")
    (row,) = json.loads(said)
    assert (row["name"], row["state"], row["records"], row["models"]) == (name, "done", MESSAGES, [])
    assert row["written"] == {"imaging.orders": MESSAGES - 1, "radstream.dead-letters": 1}

    acts = [r async for r in log.read(topics.AUDIT.name) if r.key == f"replay.{name}".encode()]
    told = [ReplayBegun.model_validate_json(act.value) for act in acts]
    assert [(act.outcome, act.by, act.reason) for act in told] == [("begun", "Dr Other", "a test"), ("done", "Dr Other", "a test")]
    assert {act.records for act in told} == {MESSAGES}

    assert {file.name for file in folder.path.iterdir()} == {"manifest.json", "lock"}, "its case store names patients"
    own = {topic.name for topic in sandbox_of(name).topics}
    assert own <= list_topics(settings.kafka.bootstrap).keys()
    code, said = await replay(settings, "remove", name, "--reason", "a test", "--by", "Dr Other")
    assert (code, f"{len(own)} topics" in said) == (0, True), said
    assert not own & list_topics(settings.kafka.bootstrap).keys()


async def test_a_pause_is_asked_of_a_process_that_runs_it(settings: Settings, plan: Plan) -> None:
    name = f"paused-{uuid4().hex[:8]}"
    folder = create(settings, name, plan, WHO, through="normalise")
    code, said = await replay(settings, "pause", name)
    assert (code, "does not run" in said) == (0, True)
    running = asyncio.create_task(replay(settings, "resume", name, "--rate", "50"))
    while folder.read().state == "planned" and not running.done():
        await asyncio.sleep(0.05)  # another process writes the file: it gives no event
    while not folder.pause_is_asked and not running.done():
        await replay(settings, "pause", name)
    code, said = await running
    assert (code, "is paused after" in said) == (1, True), said
    assert folder.read().state == "paused"
    code, said = await replay(settings, "resume", name, "--rate", "0")
    assert code == 0, said
    assert folder.read().records == MESSAGES

"""A person sees what a version has said, recalls it, and sees that nothing of it stands any more."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.errors import BrokerUnavailable, SettingsInvalid
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings
from schemas.model_events import ModelRecalled
from streams import topics
from streams.cli import app
from streams.promotion.promoting import read_acts
from streams.promotion.recalling import Decision, act_of, catch_up, show, tell_consequences, tell_recall, withdrawn
from streams.promotion.standing import Standing
from streams.settings import Settings
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.answers import result
from tests.unit.packages import CLOCK, promote
from tests.unit.recalled_model import NAME, OTHER, recalled, said, uid

CHEST = CHEST_RADIOGRAPH_FINDINGS
DECISION = Decision("Dr B", "it misses what lies behind the heart")


@pytest.fixture
def log() -> FakeEventLog:
    log = FakeEventLog(topics.RESULTS.name)
    log.create(topics.MODELS.name, partitions=1)
    log.create(topics.AUDIT.name, partitions=1)
    return log


async def append(log: FakeEventLog, *values: Findings) -> None:
    await log.append([result(value) for value in values])


async def test_the_list(log: FakeEventLog, capsys: pytest.CaptureFixture[str]) -> None:
    await append(log, said(2, 8), said(1), said(3, model=OTHER))
    standing, lines = Standing(NAME, "1"), list[str]()
    done: list[int] = []
    await catch_up(log, standing, done.append)
    assert done == [1, 2, 3]
    show(standing, False, lines.append)
    assert [line.split()[:4] for line in lines[:-1]] == [
        ["A", "7001|x^RIS", uid(1), CHEST],
        ["A", "7001|x^RIS", uid(2), CHEST],
    ]
    assert lines[-1] == "2 answers of chest-nodule/1 stand."
    show(standing, True, lines.append)
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["version"], told["stand"]) == (NAME, "1", 2)
    assert told["answers"][0] == {
        "study_instance_uid": uid(1),
        "accession_number": "A 7001|x^RIS",
        "service": CHEST,
        "sequence": 4,
        "findings": 2,
        "at": "2026-11-24T08:34:00.123456+00:00",
    }


async def test_the_act_is_for_the_audit_first_and_is_told_once(log: FakeEventLog) -> None:
    class Halfway(FakeEventLog):
        async def append(self, records):  # type: ignore[no-untyped-def]
            if records[0].topic == topics.MODELS.name and not self.records(topics.AUDIT.name)[1:]:
                raise BrokerUnavailable("append", topics.MODELS.name, "the broker is away")
            return await super().append(records)

    halfway, lines = Halfway(topics.RESULTS.name), list[str]()
    for name in (topics.MODELS.name, topics.AUDIT.name):
        halfway.create(name, partitions=1)
    with pytest.raises(BrokerUnavailable):
        await tell_recall(halfway, await read_acts(halfway), act_of(NAME, "1", DECISION, CLOCK), lines.append)
    for _ in range(2):
        await tell_recall(halfway, await read_acts(halfway), act_of(NAME, "1", DECISION, CLOCK), lines.append)
    (told,) = halfway.records(topics.MODELS.name)
    assert told.key == b"recalled.chest-nodule.1"
    event = ModelRecalled.model_validate_json(told.value)
    assert (event.approved_by, event.reason) == (DECISION.approved_by, DECISION.reason)
    assert len(halfway.records(topics.AUDIT.name)) == 2, "one that was audited and not told is told again"
    assert lines[0].startswith("chest-nodule/1 is recalled")
    assert lines[1] == "chest-nodule/1 was recalled already, by Dr B because it misses what lies behind the heart."


@pytest.mark.parametrize(
    ("name", "version", "decision", "wrong"),
    [
        (NAME, "1", Decision("x" * 201, "why"), "--approved-by"),
        (NAME, "1", Decision("Dr B", " "), "--reason"),
        ("Chest Nodule", "1", DECISION, "--name"),
        (NAME, "1/2", DECISION, "--version"),
    ],
)
def test_who_and_what_are_said(name: str, version: str, decision: Decision, wrong: str) -> None:
    with pytest.raises(SettingsInvalid, match=wrong):
        act_of(name, version, decision, CLOCK)


def settings(tmp_path: Path) -> Settings:
    """Without packages of its own: what stands here is what was promoted."""
    return Settings(models={"url": str(tmp_path), "use": ("chest-nodule/1",)})


async def test_what_speaks_in_its_place_is_said(log: FakeEventLog, tmp_path: Path) -> None:
    async def told(*before: str, others: tuple[str, ...] = ()) -> list[str]:
        for reference in before:
            await promote(log, reference, service=CHEST)
        acts, lines = await read_acts(log), list[str]()
        for reference in others:
            name, _, version = reference.partition("/")
            acts.recalled[reference] = act_of(name, version, DECISION, CLOCK)
        name, _, version = before[-1].partition("/")
        event = act_of(name, version, DECISION, CLOCK)
        acts.recalled[before[-1]] = event
        await tell_consequences(settings(tmp_path), log, acts, event, lines.append)
        return lines

    first = await told("nodules/1")
    assert "analysis stops, and studies are told as late" in first[-1]
    assert "cannot be looked at" in first[0], "the act is done all the same"
    assert (await told("nodules/2"))[-1].startswith(f"For {CHEST} nodules/1 speaks in its place")
    assert "analysis stops" in (await told("nodules/3", others=("nodules/1", "nodules/2")))[-1]


async def test_it_waits_until_nothing_stands(log: FakeEventLog) -> None:
    await append(log, *(said(number) for number in range(1, 21)))
    standing, lines = Standing(NAME, "1"), list[str]()
    await catch_up(log, standing, lambda _: None)
    await append(log, said(21))  # answered after the list was made
    waiting = asyncio.create_task(withdrawn(log, standing, 5, lines.append))
    for number in range(1, 22):
        await asyncio.sleep(0)
        assert not waiting.done()
        await append(log, recalled(number))
    assert await waiting
    assert lines[0] == "withdrawn: 3 of 21"
    assert lines[-1].startswith("Nothing stands any more: 21 withdrawn.")


async def test_nobody_withdraws(log: FakeEventLog) -> None:
    await append(log, said(1), said(2))
    standing, lines = Standing(NAME, "1"), list[str]()
    await append(log, recalled(2))
    assert not await withdrawn(log, standing, 0.05, lines.append)
    assert lines[0] == "1 of 1 still stand, and for 0.05 s none was withdrawn."
    assert "`work correlate` and `work due`" in lines[1], "both withdraw: the first what comes, the second what was heard before"


async def test_what_was_withdrawn_before_we_looked_again_was_withdrawn(log: FakeEventLog) -> None:
    await append(log, said(1))
    standing, lines = Standing(NAME, "1"), list[str]()
    await catch_up(log, standing, lambda _: None)
    await append(log, recalled(1))
    assert await withdrawn(log, standing, 5, lines.append)
    assert lines[-1].startswith("Nothing stands any more: 1 withdrawn.")


async def test_nothing_stands(log: FakeEventLog) -> None:
    lines: list[str] = []
    assert await withdrawn(log, Standing(NAME, "1"), 5, lines.append)
    assert lines == ["Nothing stands."]


async def test_a_broker_that_goes_away_meanwhile_ends_nothing() -> None:
    class Breaking(FakeEventLog):
        reads = itertools.count(1)

        async def read(self, topic, *, follow=False, last=None):  # type: ignore[no-untyped-def]
            if follow and next(self.reads) == 1:
                raise BrokerUnavailable("read", topic, "the broker is away")
            async for record in super().read(topic, follow=follow, last=last):
                yield record

    log = Breaking(topics.RESULTS.name)
    await append(log, said(1))
    waiting = asyncio.create_task(withdrawn(log, Standing(NAME, "1"), 30, lambda _: None))
    await asyncio.sleep(0)
    await append(log, recalled(1))
    assert await waiting


@pytest.mark.parametrize(
    "options", [["--withdraw"], ["--withdraw", "--approved-by", "Dr B"], ["--reason", "why"], ["--withdraw", "--reason", "why"]]
)
def test_somebody_answers_for_it(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["model", "recall", NAME, "1", *options]).exit_code == 2

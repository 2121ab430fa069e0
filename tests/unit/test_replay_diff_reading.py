"""Both sides of a diff are read from the log: of what was said live only what the replay was about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from connectors.kafka_admin import TopicSize
from schemas.acts import ReplayBegun
from schemas.errors import SettingsInvalid
from schemas.findings import Findings
from schemas.history import Span
from schemas.identifiers import identity
from streams import topics
from streams.emission import emit
from streams.replay import diffing
from streams.replay.changes import Tolerance
from streams.replay.differing import Diff
from streams.replay.diffing import compared
from streams.replay.manifest import Manifest, ReplayFolder
from streams.replay.plan import Part, Plan
from streams.replay.publish import run_publish
from streams.replay.publishing import Approval
from streams.replay.result_commands import register
from streams.replay.said import Side
from streams.replay.selection import Selection
from streams.settings import Settings
from tests.contract.fake_event_log import START, FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.cases import minutes
from tests.unit.replays import HERE, NAME, kinds, outgoing, said, uid

SANDBOX = f"sandbox.{NAME}.ai.results"
OTHER = "sandbox.again.ai.results"


def manifest(*studies: int, span: Span, latest: float = 10, earliest: datetime = START, **changed: Any) -> Manifest:
    place = "hl7.v2.raw/0/0-9" if span.topic == "hl7.v2.raw" else str(span)
    part = Part(topic=span.topic, spans=(span,), records=len(span), bytes=1, earliest=earliest, latest=minutes(latest))
    plan = Plan(selection=Selection(places=(place,)), parts=(part,), studies=tuple(map(uid, studies)))
    told = {
        "name": NAME,
        "by": "W",
        "reason": "why",
        "planned_at": datetime(2026, 11, 30, tzinfo=UTC),
        "plan": plan,
        "state": "done",
    }
    return Manifest(**({**told, "settings_sha256": "0" * 64} | changed))


REQUESTS = Span("ai.requests", 0, 0, 2)
MESSAGES = Span("hl7.v2.raw", 0, 0, 9)


@pytest.fixture
async def log() -> FakeEventLog:
    return FakeEventLog("ai.results", SANDBOX, OTHER, "radstream.audit")


async def read(
    log: FakeEventLog, of: Manifest | None, against: str | None = None, other: Manifest | None = None
) -> diffing.Compared:
    there = {NAME: [SANDBOX], "live": ["ai.results"], "again": [OTHER]}
    seen: list[int] = []
    history = FakeHistory(log)
    spans = await diffing.to_be_read(history, there, of)
    found = await compared(history, of, other, NAME, against, spans, Tolerance(), seen.append)
    assert seen == list(range(1, len(seen) + 1))
    return found


async def append(log: FakeEventLog, topic: str, *several: Findings, cause: str = "ai.requests/0/1") -> None:
    await log.append([outgoing(one, topic, cause) for one in several])


async def test_of_requests_that_were_replayed_their_own_answers_are_compared(log: FakeEventLog) -> None:
    """Though others came since."""
    await append(log, "ai.results", said(1))
    await append(log, "ai.results", said(1, [HERE], sequence=32), cause="ai.requests/0/2")
    await append(log, SANDBOX, said(1))
    found = await read(log, manifest(1, 2, span=REQUESTS))
    assert [kinds(one) for one in found.diff.studies] == [[]]
    assert found.then.standing[str(uid(1)), said(1).service].sequence == 32, "what receivers hold now is known all the same"


async def test_of_messages_that_were_replayed_what_was_said_until_the_last_of_them(log: FakeEventLog) -> None:
    await append(log, "ai.results", said(1, minutes=5), said(1, [HERE], sequence=32, minutes=11), said(3, minutes=5))
    await append(log, SANDBOX, said(1, minutes=5))
    found = await read(log, manifest(1, 2, span=MESSAGES))
    assert [(one.study_instance_uid, kinds(one)) for one in found.diff.studies] == [(uid(1), [])], "not the study of others"
    await append(log, "ai.results", said(2, minutes=5))
    found = await read(log, manifest(1, 2, span=MESSAGES))
    assert [kinds(one) for one in found.diff.studies] == [[], ["only-then"]], "the replay was about it, and has no answer"


async def test_against_another_replay_the_live_results_are_not_looked_at(log: FakeEventLog) -> None:
    await append(log, "ai.results", said(1, [HERE]))
    await append(log, SANDBOX, said(1))
    await append(log, OTHER, said(1))
    one = manifest(1, span=MESSAGES)
    assert (await read(log, one, "again", one.model_copy(update={"name": "again"}))).diff.is_clean(allow_not_comparable=False)
    other = manifest(1, span=REQUESTS, name="again")
    assert (await read(log, one, "again", other)).diff.notes == ("The two replays did not read the same records.",)


async def test_a_replay_that_is_not_done_proves_nothing(log: FakeEventLog) -> None:
    found = await read(log, manifest(1, span=MESSAGES, state="paused", records=3))
    assert found.diff.notes == (f"The replay {NAME} is paused, not done: 3 of 9 records.",)
    assert not found.diff.is_clean(allow_not_comparable=True)


async def test_without_its_folder_what_it_spoke_of_is_compared(log: FakeEventLog) -> None:
    await append(log, "ai.results", said(1), said(2))
    await append(log, SANDBOX, said(1, [HERE]))
    found = await read(log, None)
    assert [one.study_instance_uid for one in found.diff.studies] == [uid(1)]
    assert "not on this machine" in found.diff.notes[0]


async def test_without_its_folder_the_audit_says_whether_it_is_done(log: FakeEventLog) -> None:
    await append(log, "ai.results", said(1))
    await append(log, SANDBOX, said(1))
    for replay, outcome, clean in ((NAME, "begun", False), (NAME, "failed", False), ("again", "done", False), (NAME, "done", True)):
        await log.append([emit(topics.AUDIT, f"replay.{replay}", begun(replay, outcome), None)])
        found = (await read(log, None)).diff
        assert found.is_clean(allow_not_comparable=False) is clean
        assert any("nobody knows" in note for note in found.notes) is not clean
    del log.topics["radstream.audit"]
    assert (await read(log, None)).diff.unfinished


def begun(replay: str, outcome: Any) -> ReplayBegun:
    id = identity("test", replay, outcome)
    return ReplayBegun(id=id, time=minutes(0), by="W", reason="why", outcome=outcome, replay=replay, selection="{}", records=1)


async def test_of_requests_and_cases_nothing_is_read_from_before_them(log: FakeEventLog) -> None:
    """Of messages all of it: a study that is told again may have been answered long before."""
    await append(log, "ai.results", *(said(1, sequence=16 * n) for n in range(1, 5)))
    await append(log, SANDBOX, said(1))
    late = START + timedelta(days=1, seconds=2)
    for span, selection, expected in (
        (REQUESTS, Selection(places=(REQUESTS,)), 2),
        (MESSAGES, Selection(accession_numbers=("A1",)), 2),
        (MESSAGES, Selection(places=(MESSAGES,)), 4),
    ):
        of = manifest(1, span=span, earliest=late)
        of = of.model_copy(update={"plan": of.plan.model_copy(update={"selection": selection})})
        spans = await diffing.to_be_read(FakeHistory(log), {"live": ["ai.results"]}, of)
        assert sum(map(len, spans["live"])) == expected
    ahead = manifest(1, span=REQUESTS, earliest=late, planned_at=late)
    spans = await diffing.to_be_read(FakeHistory(log), {"live": ["ai.results"]}, ahead)
    assert sum(map(len, spans["live"])) == 4, "a clock was ahead"


async def test_a_recall_of_long_ago_makes_it_read_no_more(log: FakeEventLog) -> None:
    await append(log, "ai.results", *(said(1, sequence=16 * n) for n in range(1, 5)))
    late = START + timedelta(days=1, seconds=2)
    of = manifest(1, span=MESSAGES, earliest=late)
    recall = Part(
        topic="radstream.models", spans=(Span("radstream.models", 0, 0, 1),), records=1, bytes=1, earliest=START, latest=START
    )
    plan = of.plan.model_copy(update={"selection": Selection(accession_numbers=("A1",)), "parts": (*of.plan.parts, recall)})
    spans = await diffing.to_be_read(FakeHistory(log), {"live": ["ai.results"]}, of.model_copy(update={"plan": plan}))
    assert sum(map(len, spans["live"])) == 2


async def test_what_retention_took_of_what_was_selected_is_told_and_not_passed(log: FakeEventLog) -> None:
    await append(log, "ai.results", said(1))
    await append(log, SANDBOX, said(1))
    await append(log, OTHER, said(1))
    one = manifest(1, span=MESSAGES)
    gone = one.model_copy(update={"plan": one.plan.model_copy(update={"gone": (Span("hl7.v2.raw", 1, 3, 5),)})})
    for of, against, other in ((gone, None, None), (one, "again", gone.model_copy(update={"name": "again"}))):
        diff = (await read(log, of, against, other)).diff
        assert [note for note in diff.notes if "hl7.v2.raw/1/3-5" in note]
        assert (diff.is_clean(allow_not_comparable=False), diff.is_clean(allow_not_comparable=True)) == (False, True)


async def test_a_replay_is_not_compared_with_itself(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="with itself"):
        await diffing.read_diff(Settings(run_folder=tmp_path / "run"), NAME, NAME, Tolerance())


def test_a_page_does_not_follow_a_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def found(*_: object) -> diffing.Compared:
        return diffing.Compared(Diff("a", "b"), Side(), Side())

    monkeypatch.setattr(diffing, "read_diff", found)
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "diff.html"
    elsewhere.write_text("mine")
    link.symlink_to(elsewhere)
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, ["diff", NAME, "--html", str(link)], env={"COLUMNS": "200"})
    assert (result.exit_code, elsewhere.read_text()) == (2, "mine")
    assert CliRunner().invoke(app, ["diff", NAME]).exit_code == 1, "nothing was compared"


async def test_a_replay_that_analysed_nothing_is_not_compared(tmp_path: Path) -> None:
    settings = Settings(run_folder=tmp_path / "run")
    ReplayFolder(settings, NAME).create(manifest(1, span=MESSAGES, through="correlate"))
    with pytest.raises(SettingsInvalid, match="analysed nothing"):
        await diffing.read_diff(settings, NAME, None, Tolerance())


async def test_a_replay_without_results_or_of_another_name_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"ai.results": TopicSize(4, 1), SANDBOX: TopicSize(1, 0)}
    monkeypatch.setattr(diffing, "topic_sizes", lambda bootstrap, names: sizes)
    for name, against in (("nobody", None), (NAME, "nobody")):
        with pytest.raises(SettingsInvalid, match="nobody: there is no such replay"):
            await diffing.read_diff(Settings(run_folder=tmp_path / "run"), name, against, Tolerance())


async def test_what_cannot_be_published_is_said_before_anything_is_read(tmp_path: Path) -> None:
    settings = Settings(run_folder=tmp_path / "run")
    ReplayFolder(settings, NAME).create(manifest(1, span=MESSAGES, state="paused"))
    for name, studies, approval, words in (
        (NAME, None, Approval("Dr B", "why"), "is paused, not done: radstream replay resume last-week"),
        ("nobody", None, Approval("Dr B", "why"), "there is no replay of this name"),
        (NAME, None, Approval("Dr B", "  "), "--reason 1 to 1000"),
        (NAME, None, Approval("", "why"), "--approved-by has 1 to 200"),
        (NAME, frozenset({"1..2"}), Approval("Dr B", "why"), "is no Study Instance UID"),
    ):
        with pytest.raises(SettingsInvalid, match=words):
            await run_publish(settings, name, studies, approval, Tolerance(), say=print, as_json=False)


def test_what_is_missing_on_the_command_line_is_said() -> None:
    runner, app = CliRunner(), typer.Typer()
    register(app)
    answers = ["--approved-by", "W", "--reason", "why"]
    for line, words in (
        (["publish", NAME, *answers], "either --study UID, or --all-changed"),
        (["publish", NAME, *answers, "--all-changed", "--study", "1.2"], "either --study UID, or --all-changed"),
        (["publish", NAME, "--all-changed", "--reason", "why"], "--approved-by"),
    ):
        result = runner.invoke(app, line, env={"COLUMNS": "200"})
        assert result.exit_code == 2
        assert words in result.output

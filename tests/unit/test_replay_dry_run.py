"""What a dry run says, and how it is asked for."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from schemas.errors import RecordsRemoved
from schemas.history import Span
from schemas.identifiers import StudyInstanceUID
from streams.cli import app
from streams.existing import Existing
from streams.replay.dry_run import show
from streams.replay.estimating import seconds_per_analysis
from streams.replay.following import Seen
from streams.replay.plan import Part, Plan
from streams.replay.planning import planned
from streams.replay.selection import Selection
from streams.settings import Settings
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory

AT = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
COMMAND = ["radstream", "replay", "--sender", "RIS|H", "--reason", "WHY", "--run"]
PARTS = (
    Part(topic="hl7.v2.raw", spans=(Span("hl7.v2.raw", 0, 4, 9),), records=5, bytes=2_000, earliest=AT, latest=AT),
    Part(topic="imaging.studies", spans=(Span("imaging.studies", 1, 0, 2),), records=2, bytes=500, earliest=AT, latest=AT),
)
PLAN = Plan(
    selection=Selection(patients=("4711^HOSPITAL",)),
    parts=PARTS,
    studies=(StudyInstanceUID("1.2.3"), StudyInstanceUID("1.2.4")),
    gone=(Span("hl7.v2.raw", 0, 3, 4),),
    analyses=2,
    seconds_per_analysis=0.75,
)


def said(plan: Plan, *, rate: float | None = 200, analyses: bool = True) -> str:
    out = io.StringIO()
    show(plan, COMMAND, Console(file=out, width=200), rate=rate, analyses=analyses, as_json=False)
    return out.getvalue()


def test_everything_that_would_be_read() -> None:
    text = said(PLAN)
    for line in (
        "7 records, 2500 bytes, 2 studies,",
        "from 2026-11-24 12:30:00+00:00 to 2026-11-24 12:30:00+00:00, read from normalise on.",
        "gone: hl7.v2.raw/0/3-4, the log does not hold it any more",
        "It takes about 0:00:02: 7 records at 200 a second, 2 analyses of 0.75 s as the last ones took.",
        "Nothing was done. To run it:",
        shlex.join(COMMAND),
    ):
        assert line in text.splitlines()
    assert "4711" not in text
    assert "1.2.3" not in text


def test_how_long() -> None:
    unknown = PLAN.model_copy(update={"seconds_per_analysis": None})
    assert "It takes a second for 7 records at 200 a second, and 2 analyses: none was measured yet." in said(unknown)
    assert "It takes about 0:01:10: 7 records at 0.1 a second, no analysis." in said(PLAN, rate=0.1, analyses=False)
    assert "7 records as fast as it can, 2 analyses of 0.75 s" in said(PLAN, rate=None)


def test_nothing() -> None:
    text = said(Plan(selection=Selection(accession_numbers=("A1",)), parts=(), gone=PLAN.gone))
    assert text.splitlines() == [
        "nothing on the log is of what is selected",
        "gone: hl7.v2.raw/0/3-4, the log does not hold it any more",
    ]


def test_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    show(PLAN, COMMAND, Console(), rate=200, analyses=True, as_json=True)
    text = capsys.readouterr().out
    told = json.loads(text)
    assert {key: told[key] for key in ("records", "bytes", "studies", "analyses", "rate", "seconds", "gone", "command")} == {
        "records": 7,
        "bytes": 2_500,
        "studies": 2,
        "analyses": 2,
        "rate": 200,
        "seconds": pytest.approx(1.535),
        "gone": ["hl7.v2.raw/0/3-4"],
        "command": COMMAND,
    }
    assert [part["spans"] for part in told["parts"]] == [["hl7.v2.raw/0/4-9"], ["imaging.studies/1/0-2"]]
    assert told["selection"]["start"] == "normalise"
    assert "4711" not in text
    assert "1.2.3" not in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--since", "7d", "--start", "deliver"], "--start is normalise, correlate or analyse"),
        (["--since", "7d", "--through", "deliver"], "--through is normalise, correlate or report"),
        (["--since", "7d", "--run"], "--run needs --reason"),
        (["--since", "7d", "--run", "--reason", "r", "--json"], "--json is of the dry run"),
        (["--since", "7d", "--through", "normalise"], "starts at analyse cannot end with normalise"),
        (["--since", "7d", "list"], "what is selected goes with no subcommand"),
    ],
)
def test_usage(arguments: Sequence[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["replay", *arguments], env={"COLUMNS": "200"})
    assert ended.exit_code == 2
    assert told in ended.stderr


def test_without_anything_it_says_what_could_be_asked() -> None:
    ended = CliRunner().invoke(app, ["replay"])
    assert ended.exit_code == 0
    assert "--accession" in ended.stdout


def test_a_saved_query_is_told_by_its_name_and_what_is_given_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def plan_of(settings: Settings, selection: Selection, seen: Seen) -> Plan:
        return PLAN.model_copy(update={"selection": selection})

    monkeypatch.setattr("streams.replay.dry_run.plan_of", plan_of)
    monkeypatch.chdir(tmp_path)
    first = CliRunner().invoke(app, ["replay", "--patient", "4711^HOSPITAL", "--save", "mine", "--json"])
    assert first.exit_code == 0, first.output
    told = CliRunner().invoke(app, ["replay", "--saved", "mine", "--since", "7d", "--json"])
    command = ["radstream", "replay", "--saved", "mine", "--since", "7d", "--reason", "WHY", "--run"]
    assert json.loads(told.stdout)["command"] == command
    assert "4711" not in told.stdout


async def test_topics_that_nobody_made_hold_nothing_and_are_not_made() -> None:
    log = FakeEventLog()
    history = Existing(FakeHistory(log))
    for selection in (
        Selection(since=AT),
        Selection(accession_numbers=("A1",)),
        Selection(senders=("RIS|H",)),
        Selection(since=AT, start_at="normalise"),
    ):
        plan = await planned(selection, history)
        assert (plan.records, plan.gone) == (0, ())
    with pytest.raises(RecordsRemoved):
        await planned(Selection(places=(Span("hl7.v2.raw", 0, 0, 1),)), history)
    assert await seconds_per_analysis(history) is None
    assert not log.topics

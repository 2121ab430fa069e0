"""It is on the audit who sees a diff before it is shown."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from schemas.acts import Looked
from schemas.errors import BrokerUnavailable
from streams.replay import diffing
from streams.replay.changes import Tolerance
from streams.replay.differing import Diff, differences
from streams.replay.result_commands import register
from streams.replay.said import Side
from streams.settings import Settings
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.replays import HERE, NAME, letter, said, side, uid

SANDBOX = f"sandbox.{NAME}.ai.results"


def compared(then: Side, now: Side) -> diffing.Compared:
    return diffing.Compared(Diff("a", "b", studies=differences(then, now, Tolerance())), then, now)


def test_what_is_named_are_the_places_of_the_studies_that_are_shown() -> None:
    then, now = side(said(1), said(2), said(3)), side(said(1), said(2, [HERE]), topic=SANDBOX)
    now.letter(letter(3))
    found = compared(then, now)
    assert [one.study_instance_uid for one in found.diff.studies] == [uid(1), uid(2), uid(3)]
    shown = ["ai.results/0/1", f"{SANDBOX}/0/1", "ai.results/0/2", f"sandbox.{NAME}.radstream.dead-letters/0/0"]
    assert [str(place) for place in found.places()] == shown, "of the study in which nothing differs nothing is shown"


def test_nothing_is_shown_when_the_look_cannot_be_audited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = FakeEventLog("radstream.audit")

    async def found(*_: object) -> diffing.Compared:
        return compared(side(said(1)), side(said(1, [HERE]), topic=SANDBOX))

    @asynccontextmanager
    async def opened(_: Settings) -> AsyncGenerator[FakeEventLog]:
        yield log

    monkeypatch.setattr(diffing, "read_diff", found)
    monkeypatch.setattr(diffing, "log_for", opened)
    monkeypatch.setattr(diffing, "ensure_all_topics", lambda _: None)
    app, page = typer.Typer(), tmp_path / "diff.html"
    register(app)
    who = ["--by", "A. Lin", "--reason", "the release of Monday", "--html", str(page)]
    log.away = True
    result = CliRunner().invoke(app, ["diff", NAME, "--json", *who])
    assert (type(result.exception), result.output, page.exists()) == (BrokerUnavailable, "", False)
    log.away = False
    result = CliRunner().invoke(app, ["diff", NAME, "--json", *who])
    assert (result.exit_code, page.exists(), uid(1) in result.output) == (1, True, True)
    (act,) = [Looked.model_validate_json(record.value) for record in log.records("radstream.audit")]
    assert (act.what, act.by, act.reason) == ("replay diff", "A. Lin", "the release of Monday")
    assert act.places == ("ai.results/0/0", f"{SANDBOX}/0/0")

"""It is on the audit who sees a diff before it is shown."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
import typer
from typer.testing import CliRunner

from schemas.acts import Looked
from schemas.case_store import Due
from schemas.errors import BrokerUnavailable
from schemas.ports import Place, Record
from streams.replay import diffing
from streams.replay.changes import Tolerance
from streams.replay.differing import Diff, differences, failures
from streams.replay.result_commands import register
from streams.replay.said import Side
from streams.replay.timer_letter import timer_letter
from streams.settings import Settings
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.cases import NOON
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


def test_a_timer_that_failed_names_its_study() -> None:
    then, now = side(said(1)), side(said(1), topic=SANDBOX)
    due = Due(id=UUID(int=1), reason="late", case=uid(2), not_before=NOON)
    out = timer_letter(due, KeyError("x"), 15, NOON)
    now.letter(Record(Place(f"sandbox.{NAME}.{out.topic}", 0, 7), out.key, out.value, out.headers, NOON))
    found = diffing.Compared(Diff("a", "b", differences(then, now, Tolerance()), failures=failures(then, now)), then, now)
    assert uid(2) in found.diff.failures[0]
    assert list(map(str, found.places())) == [f"sandbox.{NAME}.radstream.dead-letters/0/7"]


FAILED = diffing.Compared(Diff("a", "b", failures=("the timer late of 1.2.1: unexpected",)), Side(), Side())


@pytest.mark.parametrize("of", [compared(side(said(1)), side(said(1, [HERE]), topic=SANDBOX)), FAILED], ids=["changed", "failed"])
def test_nothing_is_shown_when_the_look_cannot_be_audited(
    of: diffing.Compared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = FakeEventLog("radstream.audit")

    async def found(*_: object) -> diffing.Compared:
        return of

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
    assert act.places == (() if of is FAILED else ("ai.results/0/0", f"{SANDBOX}/0/0"))

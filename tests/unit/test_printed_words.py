"""What persons and things outside say is printed as it is: read as rich's markup, "[/x]" would end a command, "[red]" be gone."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from models.evaluation.films import Figure, FilmFigures
from schemas.case_store import TimelineEntry
from schemas.discrepancies import DiscrepancyAcknowledged, DiscrepancyOpened
from schemas.errors import InvalidResource
from schemas.ports import Place
from streams import acknowledging, cli, looking, up
from streams.audit.verified import Told
from streams.audit.verify_command import show as show_verified
from streams.audit.verifying import Proven
from streams.promotion.listing import Package
from streams.promotion.listing import show as show_models
from streams.scoring.evaluate import _show as show_evaluation
from streams.scoring.evaluating import Evaluation, Joined
from streams.segments import listing as segments
from streams.serving import process as serving
from streams.settings import Settings
from tests.unit.cases import NOON
from tests.unit.discrepancies import event, record

#: of a reason, a name, an address (IPv6)
SAID = r"[red]why[/x] [bold]it[/bold] [fe80::1]:2575 \[a]\ "
WORDS = SAID.strip()


def console() -> Console:
    return Console(file=io.StringIO(), width=4000)


def text(of: Console) -> str:
    return of.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_who_acknowledged_a_discrepancy_and_why() -> None:
    known: dict[Any, acknowledging.Discrepancy] = {}
    for offset, one in enumerate((event(DiscrepancyOpened), event(DiscrepancyAcknowledged, acknowledged_by=SAID, reason=SAID))):
        acknowledging.folded(known, record(one, offset))
    out = console()
    acknowledging.show(list(known.values()), out, as_json=False)
    assert text(out).count(WORDS) == 2


def test_who_promoted_and_recalled_a_model_and_why() -> None:
    out = console()
    told = {"service": SAID, "name": "m", "version": "1", "since": None, "approved_by": SAID, "reason": SAID, "recalled": True}
    act = {"name": SAID, "version": "1", "time": "now", "approved_by": SAID, "reason": SAID}
    worker = {"worker": SAID, "service": "s", "name": "m", "version": "1", "well": False, "reason": SAID}
    package = Package("m", "1", "s", "k", "0", well=False, reason=SAID)
    show_models([package], [told], {"shadow": [act | {"sandbox": SAID}], "recalled": [act]}, [worker], out)
    assert text(out).count(WORDS) == 1 + 3 + 4 + 3 + 2


async def test_the_number_that_a_case_is_asked_by(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cases:
        async def timeline(self, accession_number: str) -> Sequence[TimelineEntry]:
            return [TimelineEntry(NOON, Place("ai.results", 0, 0), "x", SAID, "1.2.3")]

        async def close(self) -> None: ...

    async def asked(*_: object, **__: object) -> None: ...

    monkeypatch.setattr(looking, "database_is_there", lambda _: True)
    monkeypatch.setattr(looking, "case_store_for", lambda _: Cases())
    monkeypatch.setattr(looking, "case_was_asked_for", asked)
    out = console()
    assert await looking.show_case(Settings(), SAID, out, as_json=False)
    assert f"accession number {WORDS}" in text(out) and text(out).count(WORDS) == 2


async def test_what_is_wrong_with_a_segment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def broken(*_: object) -> list[InvalidResource]:
        return [InvalidResource("segments", SAID, SAID)]

    async def none(*_: object) -> list[object]:
        return []

    for name, does in (("partitions", none), ("_broken", broken)):
        monkeypatch.setattr(segments, name, does)
    for name in ("object_store_for", "live_history_for"):
        monkeypatch.setattr(segments, name, lambda *_: None)
    out = console()
    assert not await segments.run_list(Settings(segments={"url": str(tmp_path)}), out, check=True, as_json=False)
    assert text(out).count(WORDS) == 2


def test_the_partition_that_was_verified() -> None:
    out = console()
    show_verified(Told(proven=[Proven("t", 0, 0, 1, 0, 1, copy=SAID)], later={SAID: 1}, notes=[SAID]), out)
    assert text(out).count(WORDS) == 3


def test_the_model_and_the_labels_of_an_evaluation() -> None:
    one = Figure(0.5, None)
    figures = FilmFigures(1, 1, 1, one, one, one, one, one)
    found = Evaluation(SAID, 0.5, Joined((), (), {SAID: 1}, {}), False, {SAID: figures}, {"view": {SAID: figures}}, (), {})
    out = console()
    show_evaluation(found, out)
    assert text(out).count(WORDS) == 4


def started(monkeypatch: pytest.MonkeyPatch) -> None:
    async def says(*_: object) -> str:
        return SAID

    async def tells(_: object, tell: Callable[[str], None]) -> None:
        tell(SAID)

    async def serves(_: object, __: object, say: Callable[[str], None]) -> None:
        say(SAID)

    monkeypatch.setattr(up, "start_up", says)
    monkeypatch.setattr(up, "run_up", tells)
    monkeypatch.setattr(up, "stop_up", lambda _: SAID)
    monkeypatch.setattr(serving, "run_serve", serves)


@pytest.mark.parametrize("command", [("up",), ("up", "--detach"), ("down",), ("model", "serve")])
def test_where_it_listens_and_what_it_wrote(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch)
    told = CliRunner().invoke(cli.app, command)
    assert (told.exit_code, told.output.strip()) == (0, WORDS)

"""A diff on a terminal, as JSON and as a page: all of it stands there, nothing of it is taken for markup."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import pytest
from rich.console import Console

from schemas.findings import DEMONSTRATION
from schemas.identifiers import AccessionNumber
from streams.replay.changes import KINDS, Change, Tolerance
from streams.replay.diff_page import NO_PLOTS, page
from streams.replay.diff_text import SHOWN, plain, show, verdict
from streams.replay.differing import Diff, StudyDiff, differences, scores
from tests.unit.replays import HERE, OTHER_MODEL, said, side, uid


def diff_of(studies: int = 4, notes: tuple[str, ...] = ()) -> Diff:
    """Of the first one nothing changed; one has no answer; the others have a finding now."""
    numbers = range(1, studies + 1)
    then, now = side(*map(said, numbers)), side(said(1), *(said(n, [HERE], model=OTHER_MODEL) for n in numbers if n > 2))
    found = differences(then, now, Tolerance())
    bars = scores(found)
    return Diff("replay <b>x</b>", "what was said live", found, tuple(then.models()), tuple(now.models()), *bars, notes=notes)


def lines(diff: Diff) -> str:
    text = StringIO()
    show(diff, Console(file=text, width=120))
    return text.getvalue()


def test_a_terminal_shows_what_changed_study_by_study() -> None:
    text = lines(diff_of(notes=("The replay x is paused, not done: 1 of 2 records.",)))
    assert text.splitlines()[:2] == [
        "replay <b>x</b> against what was said live",
        "  The replay x is paused, not done: 1 of 2 records.",
    ]
    for expected in ("then: chest-nodule/1 (4)", "now: chest-nodule/1 (1), nodules/2 (2)", "finding appeared: nodule 1", "0.7-0.8"):
        assert expected in text
    assert [str(uid(number)) in text for number in (1, 2, 3, 4)] == [False, True, True, True]
    assert text.splitlines()[-1] == verdict(diff_of()) == "4 in all, 3 compared, 3 changed, 0 not comparable"


def test_of_very_many_a_terminal_shows_the_first() -> None:
    text = lines(diff_of(SHOWN + 10))
    assert str(uid(SHOWN + 10)) not in text
    assert "... and 9 more: --html or --json has all of them" in text


def test_json_has_all_that_changed() -> None:
    told = json.loads(json.dumps(plain(diff_of(SHOWN + 10))))
    assert (told["in_all"], told["compared"], told["changed"], len(told["studies"])) == (
        SHOWN + 10,
        SHOWN + 9,
        SHOWN + 9,
        SHOWN + 9,
    )
    assert told["kinds"] == {"appeared": SHOWN + 8, "presence": SHOWN + 8, "only-then": 1}
    (gone,) = (one for one in told["studies"] if one["study_instance_uid"] == uid(2))
    assert gone["changes"] == [{"kind": "only-then", "words": "no answer now"}]
    assert sum(told["scores"]["now"]) == SHOWN + 9


def test_what_was_given_up_on_both_sides_is_named_everywhere() -> None:
    gave_up = StudyDiff("1.2.99", "s", given_up="a dead letter of analyse: ModelFailed: no usable answer")
    diff = replace(diff_of(1), studies=(*diff_of(1).studies, gave_up))
    assert verdict(diff) == "2 in all, 1 compared, 0 changed, 0 not comparable, 1 given up on both sides for the same reason"
    told = plain(diff)
    assert (told["compared"], told["given_up_on_both_sides"]) == (1, 1)
    assert [one["given_up_on_both_sides"] for one in told["studies"]] == [gave_up.given_up]
    for text in (lines(diff), page(diff)[0]):
        assert "1.2.99" in text
        assert "given up on both sides: a dead letter of analyse: ModelFailed: no usable answer" in text


def test_no_sender_speaks_to_the_terminal() -> None:
    number = AccessionNumber(value="A\x1b]0;owned\x07\x1b[2J\x7f", assigner="RIS")
    diff = Diff("a", "b", (StudyDiff("1.2", "s", number, (Change("score", "x"),)),), notes=("\x9b2J",))
    assert not {"\x1b", "\x07", "\x9b", "\x7f"} & set(lines(diff))


class _Page(HTMLParser):
    """What tags it has, and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br", "hr", "link", "img"):
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)


def test_the_page_needs_nothing_beside_itself() -> None:
    pytest.importorskip("matplotlib")
    text, with_plots = page(diff_of(6))
    found = _Page()
    found.feed(text)
    assert with_plots
    assert not found.open
    assert all(reference.startswith("#") for reference in found.fetched), "only within the page"
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert found.tags.count("svg") == 3
    assert DEMONSTRATION in text
    assert "<b>" not in text and "replay &lt;b&gt;x&lt;/b&gt;" in text
    assert [str(uid(number)) in text for number in range(1, 7)] == [False, True, True, True, True, True]
    assert all(KINDS[kind] in text for kind in diff_of().counts)
    assert page(diff_of(6))[0] == text, "the same to the last byte"


def test_without_matplotlib_the_page_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "streams.replay.diff_plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text, with_plots = page(diff_of())
    assert not with_plots
    assert NO_PLOTS.partition("`")[0] in text
    assert str(uid(3)) in text


def test_that_a_step_gave_up_is_told_everywhere() -> None:
    (same,) = differences(side(said(1)), side(said(1)), Tolerance())
    failed = replace(same, compared=False, not_comparable="now a dead letter of analyse: ModelFailed", failed=True)
    diff = Diff("a", "b", (failed,), failures=("a dead letter of normalise: InvalidResource",))
    told = plain(diff)
    assert (told["failed"], told["studies"][0]["failed"], told["failures"]) == (1, True, list(diff.failures))
    expected = "1 in all, 0 compared, 0 changed, 1 not comparable, 1 of them because a model or a step gave up; of no study"
    assert verdict(diff).startswith(expected)
    assert all("ModelFailed" in text for text in (lines(diff), page(diff)[0]))


def test_of_nothing_that_differs() -> None:
    same = side(said(1))
    diff = Diff("a", "b", differences(same, same, Tolerance()))
    assert lines(diff).splitlines()[-1] == "1 in all, 1 compared, 0 changed, 0 not comparable"
    assert "<h2>" not in page(diff)[0]

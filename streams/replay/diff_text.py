"""A Diff as lines for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from streams.printable import printable
from streams.replay.changes import KINDS
from streams.replay.differing import Diff, StudyDiff

#: studies that a terminal shows; all of them stand in the page and in JSON
SHOWN = 50
_WIDEST = 30


def plain(diff: Diff) -> dict[str, Any]:
    """For `--json`: all studies that were changed, cannot be compared or were given up on both sides: patient data."""
    return {
        "now": diff.now,
        "then": diff.then,
        "unfinished": diff.unfinished,
        "in_all": len(diff.studies),
        "compared": diff.held_together,
        "changed": len(diff.changed),
        "not_comparable": len(diff.not_comparable),
        "failed": len(diff.failed),
        "given_up_on_both_sides": len(diff.given_up),
        "gone": list(diff.gone),
        "failures": list(diff.failures),
        "kinds": diff.counts,
        "models": {"then": dict(diff.models_then), "now": dict(diff.models_now)},
        "scores": {"then": list(diff.scores_then), "now": list(diff.scores_now)},
        "notes": list(diff.notes),
        "studies": [_study(one) for one in told(diff)],
    }


def show(diff: Diff, console: Console) -> None:
    """Names studies, which is patient data and is what was asked for."""

    def say(line: str) -> None:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)

    say(f"{diff.now} against {diff.then}")
    for note in diff.notes:
        say(f"  {note}")
    for words, models in (("then", diff.models_then), ("now", diff.models_now)):
        say(f"  {words}: {', '.join(f'{name} ({number})' for name, number in models) or 'no model'}")
    if diff.changed:
        table = Table("what", "studies and services")
        for kind, number in diff.counts.items():
            table.add_row(KINDS[kind], str(number))
        console.print(table)
    if sum(diff.scores_then):
        for line in _bars(diff.scores_then, diff.scores_now):
            say(line)
    for line in _lines(told(diff)):
        say(line)
    say(verdict(diff))


def told(diff: Diff) -> tuple[StudyDiff, ...]:
    """Those that are named."""
    return *diff.changed, *diff.not_comparable, *diff.given_up


def verdict(diff: Diff) -> str:
    """One line."""
    words = f"{len(diff.studies)} in all, {diff.held_together} compared, {len(diff.changed)} changed"
    words += f", {len(diff.not_comparable)} not comparable"
    if diff.failed:
        words += f", {len(diff.failed)} of them because a model or a step gave up"
    if diff.given_up:
        words += f", {len(diff.given_up)} given up on both sides for the same reason"
    if not diff.held_together:
        words += "; of no study is there an answer on both sides, so this shows nothing"
    return words + ("; the replay is not known to be done" if diff.unfinished else "")


def _lines(several: tuple[StudyDiff, ...]) -> Iterator[str]:
    for one in several[:SHOWN]:
        yield f"{number(one) or '-'}  {one.study_instance_uid}  {one.service}"
        for change in one.changes:
            yield f"    {KINDS[change.kind]}: {change.words}"
        if one.not_comparable:
            yield f"    not comparable: {one.not_comparable}"
        if one.given_up:
            yield f"    given up on both sides: {one.given_up}"
    if len(several) > SHOWN:
        yield f"... and {len(several) - SHOWN} more: --html or --json has all of them"


def number(one: StudyDiff) -> str:
    """The accession number, "" where there is none."""
    return "" if one.accession_number is None else one.accession_number.value


def _bars(then: tuple[int, ...], now: tuple[int, ...]) -> Iterator[str]:
    """Never an empty bar where there is one."""
    most = max(*then, *now, 1)
    yield f"  {'score':<10}{'then':>8}  {'':<{_WIDEST}}{'now':>8}"
    for at, (mine, its) in enumerate(zip(then, now, strict=True)):
        bars = ["#" * -(-count * _WIDEST // most) for count in (mine, its)]
        yield f"  {at / 10:.1f}-{(at + 1) / 10:.1f}   {mine:>8}  {bars[0]:<{_WIDEST}}{its:>8}  {bars[1]}".rstrip()


def _study(one: StudyDiff) -> dict[str, Any]:
    return {
        "study_instance_uid": one.study_instance_uid,
        "service": one.service,
        "accession_number": number(one) or None,
        "not_comparable": one.not_comparable or None,
        "failed": one.failed,
        "given_up_on_both_sides": one.given_up or None,
        "score_then": one.score_then,
        "score_now": one.score_now,
        "changes": [{"kind": change.kind, "words": change.words} for change in one.changes],
    }

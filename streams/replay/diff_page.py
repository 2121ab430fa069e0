"""A Diff as one page that needs nothing beside itself: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from schemas.findings import DEMONSTRATION
from streams.replay.changes import KINDS
from streams.replay.diff_text import number, verdict
from streams.replay.differing import Diff, StudyDiff

NO_PLOTS = "no plots: they need matplotlib, which `pip install 'radstream[evaluation]'` brings"

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; }
tr { border-bottom: 1px solid #ddd; } td.number { text-align: right; } ul { margin: 0; padding-left: 1.1rem; }
.notice { background: #fff4d6; border-left: 4px solid #d79b00; padding: .5rem 1rem; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } .plots svg { width: 22rem; height: auto; } code { overflow-wrap: anywhere; }
"""


def page(diff: Diff) -> tuple[str, bool]:
    """HTML, and whether it has plots."""
    drawn = _drawn(diff)
    title = f"{diff.now} against {diff.then}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head><body>',
        f"<h1>{escape(title)}</h1>",
        f'<p class="notice">{escape(DEMONSTRATION)} This page names studies: it is patient data.</p>',
        f"<p><strong>{escape(verdict(diff))}</strong></p>",
        *(f"<p>{escape(note)}</p>" for note in diff.notes),
        *_summary(diff),
        f'<div class="plots">{"".join(drawn)}</div>' if drawn else f"<p>{escape(NO_PLOTS)}</p>" if drawn is None else "",
        *_table("Changed", diff.changed),
        *_table("Not comparable", diff.not_comparable),
        *_table("Given up on both sides", diff.given_up),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part), drawn is not None


def _drawn(diff: Diff) -> list[str] | None:
    """None without matplotlib."""
    try:
        from streams.replay.diff_plots import plots
    except ImportError:
        return None
    return plots(diff)


def _summary(diff: Diff) -> Iterator[str]:
    yield "<table><tr><th>models</th><th>studies and services</th></tr>"
    for words, models in (("then", diff.models_then), ("now", diff.models_now)):
        for name, count in models:
            yield f'<tr><td>{words}: {escape(name)}</td><td class="number">{count}</td></tr>'
    yield "</table>"
    if diff.counts:
        yield "<table><tr><th>what</th><th>studies and services</th></tr>"
        for kind, count in diff.counts.items():
            yield f'<tr><td>{escape(KINDS[kind])}</td><td class="number">{count}</td></tr>'
        yield "</table>"


def _table(title: str, several: Sequence[StudyDiff]) -> Iterator[str]:
    if not several:
        return
    yield f"<h2>{title} ({len(several)})</h2>"
    yield "<table><tr><th>accession number</th><th>study</th><th>service</th><th>score then</th><th>now</th><th>what</th></tr>"
    for one in several:
        told = [f"{KINDS[change.kind]}: {change.words}" for change in one.changes]
        told += [one.not_comparable] if one.not_comparable else []
        told += [f"given up on both sides: {one.given_up}"] if one.given_up else []
        said = "".join(f"<li>{escape(line)}</li>" for line in told)
        cells = (escape(number(one)), f"<code>{escape(one.study_instance_uid)}</code>", escape(one.service))
        scores = (_score(one.score_then), _score(one.score_now))
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in (*cells, *scores))}<td><ul>{said}</ul></td></tr>"
    yield "</table>"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"

"""Pictures of a Diff, as SVG to stand in a page. Needs matplotlib (the extra `evaluation`), which is imported here alone."""

from __future__ import annotations

import io

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from streams.replay.changes import KINDS
from streams.replay.differing import Diff
from streams.shadows.agreement import BINS

_INCHES = 4.6


def plots(diff: Diff) -> list[str]:
    """Score then against now, how often each score, and how often each kind of change; those of which there is something."""
    drawn = []
    if sum(diff.scores_then):
        drawn += [_scatter(diff), _histogram(diff)]
    if diff.counts:
        drawn.append(_kinds(diff))
    return [_svg(figure) for figure in drawn]


def _scatter(diff: Diff) -> Figure:
    figure, axes = _drawing("Score of each study", "then", "now")
    for several, colour, words in ((False, "C0", "not changed"), (True, "C3", "changed")):
        both = [(one.score_then, one.score_now) for one in diff.studies if bool(one.changes) is several]
        pairs = [(a, b) for a, b in both if a is not None and b is not None]
        if pairs:
            axes.scatter([a for a, _ in pairs], [b for _, b in pairs], s=14, color=colour, alpha=0.6, label=words)
    axes.plot([0, 1], [0, 1], ":", color="grey", linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(loc="upper left")
    return figure


def _histogram(diff: Diff) -> Figure:
    figure, axes = _drawing("How often each score", "score", "studies")
    wide = 0.4 / BINS
    for shift, counts, words in ((0.0, diff.scores_then, "then"), (wide, diff.scores_now, "now")):
        axes.bar([at / BINS + wide / 2 + shift for at in range(BINS)], counts, width=wide, label=words)
    axes.legend()
    return figure


def _kinds(diff: Diff) -> Figure:
    figure, axes = _drawing("What changed", "studies and services", "")
    kinds = list(reversed(diff.counts))
    axes.barh([KINDS[kind] for kind in kinds], [diff.counts[kind] for kind in kinds])
    return figure


def _drawing(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_INCHES, _INCHES), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=across, ylabel=up)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _svg(figure: Figure) -> str:
    """Without the head of an SVG file, which has no place in a page. The same picture has the same bytes."""
    file = io.StringIO()
    with rc_context({"svg.hashsalt": "radstream", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]

"""From pairs of times of benchmarks/inference.py, bare and ours, to medians, shares, aims and a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.table import Table

#: issue 6, "what must hold"
SHARE, ADDED_MS = 0.90, 10.0

TITLES = {
    "forward": "forward pass, ready canvases",
    "whole": "whole images, pixels to Prediction",
    "way": "whole images to a model that only reads the pixels: the way alone",
}


@dataclass(frozen=True)
class Pair:
    """Seconds of one pass of so many images, once bare and once through the process, one right after the other; `cpu`: of all
    processes that took part, which says the same on a machine that others keep busy."""

    images: int
    bare: float
    ours: float
    bare_cpu: float
    ours_cpu: float


def figures(pairs: Sequence[Pair]) -> dict[int, dict[str, float]]:
    """By images in a pass. Ratio and difference are taken within a pair, then the median."""
    found = {}
    for images in sorted({pair.images for pair in pairs}):
        those = [pair for pair in pairs if pair.images == images]
        found[images] = {
            "pairs": len(those),
            "bare_ms": 1000 * median(pair.bare for pair in those),
            "ours_ms": 1000 * median(pair.ours for pair in those),
            "bare_per_second": images / median(pair.bare for pair in those),
            "ours_per_second": images / median(pair.ours for pair in those),
            "share": median(pair.bare / pair.ours for pair in those),
            "cpu_share": median(pair.bare_cpu / pair.ours_cpu for pair in those),
            "added_cpu_ms": 1000 * median(pair.ours_cpu - pair.bare_cpu for pair in those),
            "added_ms": 1000 * median(pair.ours - pair.bare for pair in those),
        }
    return found


def best(found: Mapping[int, Mapping[str, float]]) -> int:
    """The size of pass at which the bare forward pass answers most images a second."""
    return max(found, key=lambda images: found[images]["bare_per_second"])


def verdicts(result: Mapping[str, Any]) -> dict[str, bool]:
    """Of each aim, in words, whether it holds."""
    held = {}
    for name in ("forward", "whole"):
        found = result[name]
        size = best(found)
        held[f"{name}: {found[size]['share']:.1%} of the bare throughput at {size} in a pass (aim {SHARE:.0%})"] = (
            found[size]["share"] >= SHARE
        )
        added = found[1]["added_ms"]
        held[f"{name}: {added:.1f} ms added to one image alone (aim {ADDED_MS:.0f} ms, on a CPU)"] = added <= ADDED_MS
    return held


def decode_bound(result: Mapping[str, Any]) -> str:
    """How near the model comes to what the decoders of this machine can feed it."""
    if result["device"] != "cuda":
        return "No GPU here: images/s on one, and the share of what the decoders can feed it, were not measured."
    found = result["whole"]
    rate, limit = max(row["ours_per_second"] for row in found.values()), result["cores"] * 1000 / result["decode_ms"]
    return f"GPU: {rate:.0f} images/s, {rate / limit:.0%} of the {limit:.0f} that {result['cores']} decoders can feed it"


def tables(result: Mapping[str, Any]) -> Iterator[Table | str]:
    """What is printed."""
    for name, title in TITLES.items():
        columns = ("in a pass", "bare ms", "ours ms", "bare images/s", "ours images/s", "share", "of CPU time")
        table = Table(*columns, "added ms", "of CPU time", "pairs", title=title)
        for images, row in result[name].items():
            table.add_row(
                str(images),
                f"{row['bare_ms']:.0f}",
                f"{row['ours_ms']:.0f}",
                f"{row['bare_per_second']:.2f}",
                f"{row['ours_per_second']:.2f}",
                f"{row['share']:.1%}",
                f"{row['cpu_share']:.1%}",
                f"{row['added_ms']:.1f}",
                f"{row['added_cpu_ms']:.1f}",
                str(row["pairs"]),
            )
        yield table
    for words, held in verdicts(result).items():
        yield f"{'holds' if held else 'NOT REACHED'}: {words}"
    yield decode_bound(result)

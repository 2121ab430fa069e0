"""From the measurements of benchmarks/findings.py to medians, shares, aims and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.table import Table

#: issue 7, "what must hold"
BUNDLES_PER_CORE_SECOND, SHARE, READABLE_P95_S = 150.0, 0.90, 0.500


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def rendered(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Per second of processor time: ours, the peer, the floor. The share is taken within a round, then the median."""
    names = ("ours", "peer", "floor")
    return {name: median(one[name] for one in rounds) for name in names} | {
        "ours_to_peer": median(one["ours"] / one["peer"] for one in rounds)
    }


def delivered(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Bundles per second: ours and the bare client, with the same bodies, in turns."""
    return {name: median(one[name] for one in rounds) for name in ("ours", "bare")} | {
        "share": median(one["ours"] / one["bare"] for one in rounds)
    }


def readable(seconds: Sequence[float], floor: Mapping[str, float]) -> dict[str, Any]:
    """From the record on `ai.results` to readable; the floor is the same work with nothing between."""
    found = {name: percentile(seconds, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))}
    return {"studies": len(seconds), "seconds": found, "floor": dict(floor), "ratio": found["p50"] / sum(floor.values())}


def verdicts(result: Mapping[str, Any]) -> dict[str, bool]:
    """Of each aim, in words, whether it holds."""
    rate, share = result["rendering"]["ours"], result["delivery"]["share"]
    p95 = result["readable"]["seconds"]["p95"]
    return {
        f"rendering: {rate:.0f} Bundles/s per core (aim {BUNDLES_PER_CORE_SECOND:.0f})": rate >= BUNDLES_PER_CORE_SECOND,
        f"delivery: {share:.1%} of a bare client (aim {SHARE:.0%})": share >= SHARE,
        f"readable: p95 {p95 * 1000:.0f} ms (aim {READABLE_P95_S * 1000:.0f} ms)": p95 <= READABLE_P95_S,
    }


def table(result: Mapping[str, Any]) -> Table:
    rendering, delivery, path = result["rendering"], result["delivery"], result["readable"]
    found = Table("part", "ours", "beside it", title="findings out")
    found.add_row(
        "Findings -> Bundle, /s of one core", f"{rendering['ours']:.0f}", f"all by fhir.resources: {rendering['peer']:.0f}"
    )
    found.add_row("", "", f"Findings -> JSON (floor): {rendering['floor']:.0f}")
    found.add_row("Bundle -> FHIR server, /s", f"{delivery['ours']:.1f}", f"bare client: {delivery['bare']:.1f}")
    seconds = path["seconds"]
    floor = " + ".join(f"{name} {value * 1000:.0f}" for name, value in path["floor"].items())
    found.add_row("ai.results -> readable, p50 ms", f"{seconds['p50'] * 1000:.0f}", f"{floor} (floor)")
    found.add_row("ai.results -> readable, p95 ms", f"{seconds['p95'] * 1000:.0f}", "")
    return found

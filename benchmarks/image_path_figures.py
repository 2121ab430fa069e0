"""From the measurements of benchmarks/image_path.py to medians over rounds, differences, ratios, aims and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rich.table import Table

#: issue 5, "what must hold"
ADDED_MS, BACKLOG, LAG_P99_MS = 60.0, 0.85, 20.0

#: the bare parts of each path, one after the other
IMAGE = ("fetch", "decode", "model")
STUDY = (*IMAGE, "store")


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest value. Raises IndexError when there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def per_second(ends: Sequence[float], first: int) -> float:
    """Between the `first` of these times (seconds) and the last one, so that filling the line does not count."""
    counted = sorted(ends)[first:]
    return (len(counted) - 1) / (counted[-1] - counted[0])


@dataclass
class Path:
    """One path at one number in flight in one round. `ms`: of each study; `steps`: of each study, by step."""

    ms: list[float]
    per_second: float
    lag_ms: list[float] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=dict)


@dataclass
class Round:
    """`bare`, `ours`: median milliseconds of a part; `paths`: by the number in flight."""

    bare: Mapping[str, float]
    ours: Mapping[str, float]
    paths: Mapping[int, Path]


def figures(rounds: Sequence[Round], parts: Sequence[str]) -> dict[str, Any]:
    """Of one path; `parts` names its bare parts. What is compared was measured in one round; then the median is taken."""
    alone = [one.paths[1] for one in rounds]
    slowest = [max(one.bare[name] for name in parts) for one in rounds]
    numbers = sorted(rounds[0].paths)
    lags = [lag for one in rounds for number in numbers if number > 1 for lag in one.paths[number].lag_ms]
    return {
        "bare_ms": {name: median(one.bare[name] for one in rounds) for name in rounds[0].bare},
        "ours_ms": {name: median(one.ours[name] for one in rounds) for name in rounds[0].ours},
        "in_flight": {
            number: {
                "p50_ms": median(median(one.paths[number].ms) for one in rounds),
                "p95_ms": median(percentile(one.paths[number].ms, 0.95) for one in rounds),
                "per_second": median(one.paths[number].per_second for one in rounds),
                "of_slowest_part": median(
                    one.paths[number].per_second * slow / 1000 for one, slow in zip(rounds, slowest, strict=True)
                ),
            }
            for number in numbers
        },
        "steps_ms": {name: median(median(path.steps[name]) for path in alone) for name in alone[0].steps},
        "sum_of_parts_ms": median(sum(one.bare[name] for name in parts) for one in rounds),
        "added_ms": median(median(one.paths[1].ms) - sum(one.bare[name] for name in parts) for one in rounds),
        "lag_p99_ms": percentile(lags, 0.99) if lags else None,
    }


def where_it_goes(found: Mapping[str, Any], bare: Sequence[str]) -> dict[str, float]:
    """What the engine adds to the bare parts of one study, by cause, in milliseconds; the rest is what no part explains."""
    ours, alone = found["ours_ms"], found["bare_ms"]
    causes = {f"{name}: ours - bare": ours[name] - alone[name] for name in bare if name in ours}
    steps = found["steps_ms"]
    if "analyse" in steps:
        within = sum(ours.get(name, alone[name]) for name in IMAGE)
        causes |= {name: ms for name, ms in steps.items() if name not in ("analyse", "deliver")}
        causes["analyse: hop on the log, choosing, waiting"] = steps["analyse"] - within
        causes["deliver: hop on the log, database"] = steps["deliver"] - ours.get("store", alone["store"])
    causes["not explained"] = found["added_ms"] - sum(causes.values())
    return causes


def tables(result: Mapping[str, Any]) -> Iterator[Table | str]:
    """What is printed; see `figures` for each path."""
    for name, parts in (("image path", IMAGE), ("study path", STUDY)):
        found = result[name]
        table = Table("in flight", "p50 ms", "p95 ms", "studies/s", "of the slowest part", title=name)
        for number, row in found["in_flight"].items():
            share = f"{row['of_slowest_part']:.0%}"
            table.add_row(str(number), f"{row['p50_ms']:.0f}", f"{row['p95_ms']:.0f}", f"{row['per_second']:.1f}", share)
        yield table
        yield f"aim: {BACKLOG:.0%} of the slowest part, with {max(found['in_flight'])} in flight"
        if found["lag_p99_ms"] is not None:
            yield f"event loop of analyse under load: p99 {found['lag_p99_ms']:.1f} ms late (aim {LAG_P99_MS:.0f})"
        table = Table("one study", "bare ms", "ours ms")
        for part, ms in found["bare_ms"].items():
            ours = found["ours_ms"].get(part)
            table.add_row(part if part in parts else f"({part})", f"{ms:.1f}", "" if ours is None else f"{ours:.1f}")
        table.add_row("together, without ()", f"{found['sum_of_parts_ms']:.0f}", "")
        for cause, ms in where_it_goes(found, parts).items():
            table.add_row(f"+ {cause}", "", f"{ms:.1f}")
        yield table
        yield f"the engine adds {found['added_ms']:.0f} ms (aim {ADDED_MS:.0f})\n"
    table = Table("transfer syntax", "ours ms", "pydicom's choice ms", "ratio", title="decoding 1955 x 1841, in process")
    for syntax, row in result["decoding"].items():
        table.add_row(syntax, f"{row['ours_ms']:.1f}", f"{row['pydicom_ms']:.1f}", f"{row['pydicom_ms'] / row['ours_ms']:.1f}")
    yield table

"""From the measurements of benchmarks/mllp.py to medians, ratios, targets and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from peers.contenders import CAMEL, FLOOR, OURS, PYTHON_HL7
from rich.table import Table

#: a round in which the load tool itself was later than this (its p99) says nothing about anybody's p99
OWN_LATENESS_MS = 2.0

#: issue 4, "what must hold": (connections, peer) -> ratio
RATIOS = {(64, CAMEL): 0.8, (8, CAMEL): 0.8, (1, CAMEL): 0.6, (64, PYTHON_HL7): 4.0}
P50_MS, P99_MS, RESIDENT_MB, UNFAIRNESS = 3.0, 20.0, 120.0, 3.0
FAIRNESS_CONNECTIONS = 64


@dataclass(frozen=True)
class Measurement:
    """One run of the load tool; `load` is what it printed. `rate` 0: as fast as possible."""

    round: int
    contender: str
    connections: int
    rate: int
    machine_load: float
    load: Mapping[str, Any]

    @property
    def counts_for_p99(self) -> bool:
        return bool(self.load["own_lag_ms"]["p99"] <= OWN_LATENESS_MS)

    @property
    def unfairness(self) -> float:
        """The slowest connection's p99 over the median connection's."""
        of_connections = self.load["connections_p99_ms"]
        return float(of_connections[-1] / median(of_connections))

    def __str__(self) -> str:
        latency = self.load["latency_ms"]
        pace = f"{self.rate}/s" if self.rate else "as fast as possible"
        lateness = f", own lateness p99 {self.load['own_lag_ms']['p99']:.2f} ms" if self.rate else ""
        return (
            f"{self.contender}, {self.connections} connections, {pace}: {self.load['rate']:.0f}/s, "
            f"p50 {latency['p50']:.2f} ms, p99 {latency['p99']:.2f} ms{lateness}"
        )


def figures(measured: list[Measurement], resident: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Medians over the rounds; ratios are medians of the ratios of each round, whose two sides ran one after the other."""
    fast = [one for one in measured if not one.rate]
    paced = [one for one in measured if one.rate]
    return {
        "fast": [_fast(of) for of in _by_connections(fast)],
        "paced": [figure for of in _by_connections(paced) for figure in _paced(of)],
        "resident_mib": dict(resident),
        "unfairness": {
            name: median(one.unfairness for one in fast if one.contender == name and one.connections == FAIRNESS_CONNECTIONS)
            for name in resident
            if any(one.connections == FAIRNESS_CONNECTIONS for one in fast)
        },
    }


def _by_connections(measured: list[Measurement]) -> Iterator[list[Measurement]]:
    for count in sorted({one.connections for one in measured}):
        yield [one for one in measured if one.connections == count]


def _fast(measured: list[Measurement]) -> dict[str, Any]:
    rates: dict[str, dict[int, float]] = {}
    for one in measured:
        rates.setdefault(one.contender, {})[one.round] = one.load["rate"]
    ours = rates.get(OURS, {})
    return {
        "connections": measured[0].connections,
        "per_second": {name: median(of.values()) for name, of in rates.items()},
        "ours_to": {
            name: median(ours[number] / rate for number, rate in of.items()) for name, of in rates.items() if ours and name != OURS
        },
    }


def _paced(measured: list[Measurement]) -> Iterator[dict[str, Any]]:
    for name in dict.fromkeys(one.contender for one in measured):
        of = [one for one in measured if one.contender == name]
        counted = [one for one in of if one.counts_for_p99]
        yield {
            "contender": name,
            "connections": of[0].connections,
            "p50_ms": median(one.load["latency_ms"]["p50"] for one in of),
            "p99_ms": median(one.load["latency_ms"]["p99"] for one in counted) if counted else None,
            "rounds": len(of),
            "rounds_counted_for_p99": len(counted),
        }


@dataclass(frozen=True)
class Target:
    what: str
    wanted: str
    found: float
    met: bool


def targets(found: Mapping[str, Any]) -> Iterator[Target]:
    """Those of issue 4 that this run can say something about."""
    for row in found["fast"]:
        for (connections, peer), least in RATIOS.items():
            if row["connections"] == connections and peer in row["ours_to"]:
                ratio = row["ours_to"][peer]
                yield Target(f"messages/s, {connections} connections, to {peer}", f">= {least:g}", ratio, ratio >= least)
    for row in found["paced"]:
        if row["contender"] != OURS:
            continue
        what = f"300/s, {row['connections']} connections"
        yield Target(f"{what}, p50 ms", f"<= {P50_MS:g}", row["p50_ms"], row["p50_ms"] <= P50_MS)
        if row["p99_ms"] is not None:
            yield Target(f"{what}, p99 ms", f"<= {P99_MS:g}", row["p99_ms"], row["p99_ms"] <= P99_MS)
    if OURS in found["resident_mib"]:
        peak = found["resident_mib"][OURS]["peak"] * 2**20 / 1e6
        yield Target("resident memory, peak, MB", f"<= {RESIDENT_MB:g}", peak, peak <= RESIDENT_MB)
    if OURS in found["unfairness"]:
        ratio = found["unfairness"][OURS]
        yield Target("slowest connection's p99 to the median's", f"<= {UNFAIRNESS:g}", ratio, ratio <= UNFAIRNESS)


def tables(found: Mapping[str, Any]) -> Iterable[Table]:
    names = list(found["resident_mib"])
    others = [name for name in (CAMEL, PYTHON_HL7, FLOOR) if OURS in names and name in names]
    fast = _table("messages/s, one in flight a connection", "connections", *names, *(f"ours to {name}" for name in others))
    for row in found["fast"]:
        rates = [f"{row['per_second'][name]:,.0f}" for name in names]
        fast.add_row(str(row["connections"]), *rates, *(f"{row['ours_to'][name]:.2f}" for name in others))
    yield fast
    paced = _table(
        "300 messages/s, latency from the intended send time", "connections", "who", "p50 ms", "p99 ms", "rounds for p99"
    )
    for row in found["paced"]:
        p99 = "-" if row["p99_ms"] is None else f"{row['p99_ms']:.2f}"
        counted = f"{row['rounds_counted_for_p99']} of {row['rounds']}"
        paced.add_row(str(row["connections"]), row["contender"], f"{row['p50_ms']:.2f}", p99, counted)
    yield paced
    rest = _table(
        "memory and fairness", "who", "resident MiB, end", "peak", "slowest connection's p99 to the median's, 64 connections"
    )
    for name in names:
        resident = found["resident_mib"][name]
        unfair = f"{found['unfairness'][name]:.2f}" if name in found["unfairness"] else "-"
        rest.add_row(name, f"{resident['now']:.0f}", f"{resident['peak']:.0f}", unfair)
    yield rest
    met = _table("targets of issue 4", "what", "target", "found", "met")
    for target in targets(found):
        met.add_row(target.what, target.wanted, f"{target.found:.2f}", "yes" if target.met else "NO")
    yield met


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table

"""A Comparison as lines for people, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from streams.shadows.agreement import Agreement, Spread, Table
from streams.shadows.compared import FindingsCompared, ModelsCompared, OutputCompared
from streams.shadows.comparing import Comparison, Latency

_WIDEST = 30


def plain(value: Any) -> Any:
    """Of a Comparison, or a part of it."""
    if isinstance(value, Table):
        return value._asdict()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


def lines(comparison: Comparison, *, studies: bool) -> Iterator[str]:
    """`studies`: name those of which the two do not say the same; a Study Instance UID is patient data."""
    yield f"sandbox {comparison.sandbox}, " + (f"since {comparison.since:%Y-%m-%d %H:%M:%S} UTC" if comparison.since else "empty")
    yield f"  states seen by both {comparison.both}, by the one in use only {comparison.in_use_only}, " + (
        f"by the candidate only {comparison.candidate_only}"
    )
    if comparison.unreadable:
        yield f"  {comparison.unreadable} records could not be read"
    for in_use, candidate, number in comparison.not_analysed:
        yield f"  {number} x in use: {in_use}, candidate: {candidate}"
    for models in comparison.models:
        yield ""
        yield from _models(models)
    yield ""
    yield "latency from request to result (the shadow runs at lower priority: its own is no promise)"
    yield f"  in use:    {_latency(comparison.in_use_latency)}"
    yield f"  candidate: {_latency(comparison.candidate_latency)}"
    yield ""
    yield f"studies of which the two do not say the same: {len(comparison.changed)}"
    if studies:
        yield from (f"  {study}" for study in comparison.changed)


def _models(models: ModelsCompared) -> Iterator[str]:
    yield f"in use {models.in_use}, candidate {models.candidate}: {models.states} states of {models.studies} studies"
    if models.presence is not None:
        yield f"  findings present: {_agreement(models.presence)}"
    if models.findings is not None:
        yield f"  findings: {_findings(models.findings)}"
    if models.shift is not None:
        yield f"  score, candidate minus in use: {_spread(models.shift)}"
        yield from _histogram(models.in_use_scores, models.candidate_scores)
    for output in models.outputs:
        yield f"  {_output(output)}"


def _agreement(agreement: Agreement) -> str:
    table = agreement.table
    interval = f" (95 % {agreement.interval[0]:.2f} to {agreement.interval[1]:.2f})" if agreement.interval else ""
    kappa = "kappa cannot be told" if agreement.kappa is None else f"kappa {agreement.kappa:.2f}{interval}"
    counts = f"both {table.both}, in use only {table.in_use_only}, candidate only {table.candidate_only}, neither {table.neither}"
    return f"{counts}; {kappa}"


def _findings(findings: FindingsCompared) -> str:
    renamed = f" ({findings.renamed} of another kind)" if findings.renamed else ""
    return (
        f"of both {findings.matched}{renamed}, of the one in use only {findings.in_use_only}, "
        f"of the candidate only {findings.candidate_only}; changed in {findings.changed} states"
    )


def _spread(spread: Spread) -> str:
    return (
        f"mean {spread.mean:+.3f}, median {spread.median:+.3f}, "
        f"5th to 95th percentile {spread.percentile_5:+.3f} to {spread.percentile_95:+.3f}"
    )


def _histogram(in_use: tuple[int, ...], candidate: tuple[int, ...]) -> Iterator[str]:
    """Never an empty bar where there is one."""
    most = max(*in_use, *candidate, 1)
    yield f"  {'score':<10}{'in use':>8}  {'':<{_WIDEST}}{'candidate':>10}"
    for at, (mine, its) in enumerate(zip(in_use, candidate, strict=True)):
        bars = ["#" * -(-number * _WIDEST // most) for number in (mine, its)]
        yield f"  {at / 10:.1f}-{(at + 1) / 10:.1f}   {mine:>8}  {bars[0]:<{_WIDEST}}{its:>10}  {bars[1]}".rstrip()


def _output(output: OutputCompared) -> str:
    said = [f"{output.name}: given by both {output.both}"]
    said += [f"by the one in use only {output.in_use_only}"] if output.in_use_only else []
    said += [f"by the candidate only {output.candidate_only}"] if output.candidate_only else []
    said += [f"present: {_agreement(output.presence)}"] if output.presence else []
    said += [_spread(output.shift)] if output.shift else []
    return "; ".join(said)


def _latency(latency: Latency | None) -> str:
    if latency is None:
        return "not known: no request of them is on the log any more"
    return f"p50 {latency.p50:.2f} s, p95 {latency.p95:.2f} s ({latency.number} states)"

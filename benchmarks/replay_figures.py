"""From the measurements of benchmarks/replay.py to medians, shares, aims and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any

from rich.table import Table

#: issue 8, "what must hold"; and of the rate that was asked for, what the replay must have read for its turn to count
SHARE, RATIO, OF_THE_RATE = 0.60, 1.5, 0.9

OURS, BARE, APPENDING = "replay", "bare consumer", "bare, appending"


class NotProven(Exception):
    """What was measured is not what the figures would say."""


def replayed(rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Of each round and contender `records`, `seconds`, `cpu_seconds`. Messages a second, and a second of processor time; shares
    are taken within a round, whose sides ran one after the other, then the median."""

    def rate(one: Mapping[str, float], by: str) -> float:
        return one["records"] / max(one[by], 1e-9)

    return {
        by: {
            **{name: median(rate(one[name], by) for one in rounds) for name in (OURS, BARE, APPENDING)},
            "share_of_bare": median(rate(one[OURS], by) / rate(one[BARE], by) for one in rounds),
            "share_of_appending": median(rate(one[OURS], by) / rate(one[APPENDING], by) for one in rounds),
        }
        for by in ("seconds", "cpu_seconds")
    }


def read_rate(records: int, running_at: datetime, ended_at: datetime | None) -> float:
    """Records a second of one run of a replay, from the moment at which it was running to its pause: what its process needs to
    begin and to end is no part of the rate. Raises NotProven."""
    if ended_at is None or (seconds := (ended_at - running_at).total_seconds()) <= 0:
        raise NotProven(f"the replay was running at {running_at} and ended at {ended_at}")
    return records / seconds


def acknowledged(turns: Sequence[Mapping[str, float]], least_rate: float) -> dict[str, float]:
    """Of each turn p50 and p99 in ms `without` and `during` a replay, and how many records a second that read. Raises NotProven
    when it read fewer than `least_rate` in most turns: live traffic was not beside such a replay."""
    if (read := median(turn["replay_rate"] for turn in turns)) < least_rate:
        raise NotProven(f"the replay was to read {least_rate:.0f} records/s at least and read {read:.0f}")
    names = ("without_p50", "during_p50", "without_p99", "during_p99", "replay_rate")
    return {name: median(turn[name] for turn in turns) for name in names} | {
        "ratio_p50": median(turn["during_p50"] / turn["without_p50"] for turn in turns),
        "ratio_p99": median(turn["during_p99"] / turn["without_p99"] for turn in turns),
    }


def verdicts(result: Mapping[str, Any]) -> dict[str, bool]:
    """Of each aim, in words, whether it holds."""
    share, ratio = result["replay"]["seconds"]["share_of_bare"], result["live"]["ratio_p50"]
    return {
        f"raw -> normalised: {share:.0%} of a bare consumer (aim {SHARE:.0%})": share >= SHARE,
        f"acknowledgement p50 during a replay: {ratio:.2f} times that without (aim {RATIO:g})": ratio <= RATIO,
    }


def tables(result: Mapping[str, Any]) -> list[Table]:
    rates = Table("raw -> normalised", "messages/s", "of processor time", title="a replay as fast as it can")
    wall, cpu = result["replay"]["seconds"], result["replay"]["cpu_seconds"]
    for name in (OURS, BARE, APPENDING):
        rates.add_row(name, f"{wall[name]:,.0f}", f"{cpu[name]:,.0f}")
    for what, name in (("share_of_bare", BARE), ("share_of_appending", APPENDING)):
        rates.add_row(f"replay to {name}", f"{wall[what]:.0%}", f"{cpu[what]:.0%}")
    live = result["live"]
    title = f"live acknowledgement at {result['live_rate']:.0f}/s, replay at {live['replay_rate']:.0f}/s"
    waits = Table("ms", "without", "during", "ratio", title=title)
    for what in ("p50", "p99"):
        waits.add_row(what, f"{live[f'without_{what}']:.2f}", f"{live[f'during_{what}']:.2f}", f"{live[f'ratio_{what}']:.2f}")
    return [rates, waits]

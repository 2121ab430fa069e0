"""benchmarks/replay_figures.py: from rounds and turns to shares and ratios, and whether the aims hold."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("replay_figures")


def a_round(benchmark: Any, ours: float, bare: float, appending: float, cpu: float = 1) -> Any:
    """Seconds that each took for 100 records; processor time `cpu` times that."""
    names = (benchmark.OURS, benchmark.BARE, benchmark.APPENDING)
    return {
        name: {"records": 100, "seconds": seconds, "cpu_seconds": seconds * cpu}
        for name, seconds in zip(names, (ours, bare, appending), strict=True)
    }


def a_turn(without: float = 1.0, during: float = 1.2, rate: float = 200) -> dict[str, float]:
    waits = {"without_p50": without, "during_p50": during, "without_p99": without * 10, "during_p99": during * 20}
    return {**waits, "replay_rate": rate}


def result(benchmark: Any, ours: float = 1.5, during: float = 1.2) -> dict[str, Any]:
    return {
        "live_rate": 300,
        "replay": benchmark.replayed([a_round(benchmark, ours, 1, 1.25)]),
        "live": benchmark.acknowledged([a_turn(during=during)], 180),
    }


def test_a_share_is_of_one_round(benchmark: Any) -> None:
    # the machine was slow in the second round: medians of each column alone would say 1.0
    rounds = [a_round(benchmark, *seconds) for seconds in ((2, 1, 1), (8, 4, 4), (1.5, 2, 2))]
    found = benchmark.replayed(rounds)["seconds"]
    assert (found[benchmark.OURS], found[benchmark.BARE]) == (50, 50)
    assert (found["share_of_bare"], found["share_of_appending"]) == (0.5, 0.5)


def test_processor_time_is_told_beside_it(benchmark: Any) -> None:
    found = benchmark.replayed([a_round(benchmark, 2, 1, 4, cpu=0.5)])
    assert (found["seconds"][benchmark.OURS], found["cpu_seconds"][benchmark.OURS]) == (50, 100)
    assert (found["cpu_seconds"]["share_of_bare"], found["cpu_seconds"]["share_of_appending"]) == (0.5, 2)


def test_a_ratio_is_of_one_turn(benchmark: Any) -> None:
    found = benchmark.acknowledged([a_turn(1, 2), a_turn(4, 4), a_turn(3, 9)], 180)
    assert (found["without_p50"], found["during_p50"], found["ratio_p50"], found["ratio_p99"]) == (3, 4, 2, 4)


def test_the_rate_of_a_replay_is_that_of_the_time_in_which_it_ran(benchmark: Any) -> None:
    running = datetime(2026, 11, 30, 6, tzinfo=UTC)
    assert benchmark.read_rate(1_640, running, running + timedelta(seconds=8.2)) == pytest.approx(200)
    for ended in (None, running, running - timedelta(seconds=1)):
        with pytest.raises(benchmark.NotProven, match="was running at 2026-11-30 06:00"):
            benchmark.read_rate(1_640, running, ended)


def test_a_replay_that_was_slower_than_its_rate_proves_nothing(benchmark: Any) -> None:
    assert benchmark.acknowledged([a_turn(rate=180)], 180)["replay_rate"] == 180
    assert benchmark.acknowledged([a_turn(rate=rate) for rate in (90, 200, 199)], 180)["replay_rate"] == 199
    with pytest.raises(benchmark.NotProven, match="180 records/s at least and read 179"):
        benchmark.acknowledged([a_turn(rate=rate) for rate in (179, 200, 90)], 180)


@pytest.mark.parametrize(
    ("given", "missed"),
    [
        ({}, []),
        ({"ours": 1 / 0.6}, []),
        ({"ours": 1 / 0.59}, ["raw -> normalised"]),
        ({"during": 1.5}, []),
        ({"during": 1.51}, ["acknowledgement p50 during a replay"]),
    ],
)
def test_each_aim_is_judged(benchmark: Any, given: dict[str, float], missed: list[str]) -> None:
    verdicts = benchmark.verdicts(result(benchmark, **given))
    assert len(verdicts) == 2
    assert [words.partition(":")[0] for words, held in verdicts.items() if not held] == missed


def test_the_tables_say_what_is_beside(benchmark: Any) -> None:
    console = Console(width=120)
    with console.capture() as captured:
        for table in benchmark.tables(result(benchmark)):
            console.print(table)
    told = captured.get()
    for words in ("bare consumer", "bare, appending", "67%", "83%", "300/s", "1.20"):
        assert words in told

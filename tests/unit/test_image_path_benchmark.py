"""benchmarks/image_path_figures.py: from rounds to medians, what the engine adds, and the share of the slowest part."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

FOLDER = Path(__file__).parents[2] / "benchmarks"
BARE = {"fetch": 10.0, "decode": 5.0, "model": 50.0, "store": 20.0, "describe": 15.0}
OURS = {"fetch": 12.0, "decode": 9.0}


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("image_path_figures")


def a_round(benchmark: Any, alone_ms: float, *, model_ms: float = 50.0, rate: float = 18.0, lag_ms: float = 1.0) -> Any:
    steps = {"correlate": [8.0], "analyse": [alone_ms - 60.0], "report": [7.0], "deliver": [45.0]}
    return benchmark.Round(
        BARE | {"model": model_ms},
        OURS,
        {
            1: benchmark.Path([alone_ms, alone_ms - 1, alone_ms + 500], rate / 2, [1000.0], steps),
            16: benchmark.Path([500.0], rate, [lag_ms] * 99 + [2 * lag_ms], steps),
        },
    )


def test_the_rate_is_counted_from_when_the_line_is_full(benchmark: Any) -> None:
    assert benchmark.per_second([9.0, 0.0, 5.0, 6.0, 7.0, 8.0], 1) == 1.0


def test_a_percentile_is_one_of_the_values(benchmark: Any) -> None:
    assert [benchmark.percentile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]


def test_what_is_added_is_the_median_of_the_differences_within_a_round(benchmark: Any) -> None:
    rounds = [a_round(benchmark, 100.0), a_round(benchmark, 200.0, model_ms=140.0), a_round(benchmark, 150.0)]
    found = benchmark.figures(rounds, benchmark.STUDY)
    assert found["sum_of_parts_ms"] == 85.0
    assert found["added_ms"] == 25.0  # of 15, 25 and 65
    assert found["in_flight"][1]["p50_ms"] == 150.0
    assert benchmark.figures(rounds, benchmark.IMAGE)["added_ms"] == 45.0


def test_throughput_is_a_share_of_what_the_slowest_part_alone_could_do(benchmark: Any) -> None:
    rounds = [a_round(benchmark, 100.0, rate=18.0), a_round(benchmark, 100.0, model_ms=100.0, rate=9.5)]
    found = benchmark.figures(rounds, benchmark.IMAGE)
    assert found["in_flight"][16]["of_slowest_part"] == pytest.approx((0.9 + 0.95) / 2)
    assert found["in_flight"][16]["per_second"] == pytest.approx(13.75)


def test_lag_counts_under_load_only(benchmark: Any) -> None:
    assert benchmark.figures([a_round(benchmark, 100.0)] * 3, benchmark.IMAGE)["lag_p99_ms"] == 1.0


def test_causes_sum_up_to_what_is_added(benchmark: Any) -> None:
    found = benchmark.figures([a_round(benchmark, 150.0)], benchmark.STUDY)
    causes = benchmark.where_it_goes(found, benchmark.STUDY)
    assert sum(causes.values()) == pytest.approx(found["added_ms"])
    assert causes["fetch: ours - bare"] == 2.0
    assert causes["analyse: hop on the log, choosing, waiting"] == 90.0 - 71.0
    assert causes["deliver: hop on the log, database"] == 25.0


def test_the_tables_name_figures_and_aims(benchmark: Any) -> None:
    rounds = [a_round(benchmark, 150.0)]
    result = {
        "image path": benchmark.figures(rounds, benchmark.IMAGE),
        "study path": benchmark.figures(rounds, benchmark.STUDY),
        "decoding": {"RLELossless": {"ours_ms": 10.0, "pydicom_ms": 120.0}},
    }
    console = Console(width=120, record=True)
    for shown in benchmark.tables(result):
        console.print(shown)
    told = console.export_text()
    for words in ("adds 65 ms (aim 60)", "90%", "p99 1.0 ms late", "RLELossless", "12.0"):
        assert words in told

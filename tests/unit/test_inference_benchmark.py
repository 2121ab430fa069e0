"""benchmarks/inference_figures.py: from pairs to medians, the best size of a pass, and whether the aims hold."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("inference_figures")


def pairs(benchmark: Any, images: int, *times: tuple[float, float]) -> list[Any]:
    return [benchmark.Pair(images, bare, ours, bare / 2, ours / 2 + 0.001) for bare, ours in times]


def result(benchmark: Any, ours_of_four: float = 0.40, ours_alone: float = 0.105, device: str = "cpu") -> dict[str, Any]:
    found = benchmark.figures(pairs(benchmark, 1, (0.1, ours_alone)) + pairs(benchmark, 4, (0.38, ours_of_four)))
    return {"forward": found, "whole": found, "way": found, "device": device, "cores": 4, "decode_ms": 20.0}


def test_ratios_and_differences_are_of_one_pair(benchmark: Any) -> None:
    # the machine was slow for the second pair: medians of each column alone would say 0.5
    found = benchmark.figures(pairs(benchmark, 2, (0.10, 0.11), (0.30, 0.33), (0.11, 0.12)))[2]
    assert found["share"] == pytest.approx(0.1 / 0.11)
    assert found["added_ms"] == pytest.approx(10.0)
    assert (found["bare_ms"], found["ours_ms"], found["pairs"]) == (pytest.approx(110), pytest.approx(120), 3)
    assert found["cpu_share"] == pytest.approx(0.055 / 0.061) and found["added_cpu_ms"] == pytest.approx(6.0)
    assert found["bare_per_second"] == pytest.approx(2 / 0.11)


def test_the_best_size_is_that_of_the_bare_pass(benchmark: Any) -> None:
    assert benchmark.best(result(benchmark)["forward"]) == 4


@pytest.mark.parametrize(
    ("ours_of_four", "ours_alone", "held"),
    [(0.40, 0.105, [True, True]), (0.43, 0.105, [False, True]), (0.40, 0.111, [True, False])],
)
def test_the_aims(benchmark: Any, ours_of_four: float, ours_alone: float, held: list[bool]) -> None:
    assert list(benchmark.verdicts(result(benchmark, ours_of_four, ours_alone)).values()) == held * 2


def test_the_tables_name_figures_aims_and_what_was_not_measured(benchmark: Any) -> None:
    console = Console(width=140, record=True)
    for shown in benchmark.tables(result(benchmark)):
        console.print(shown)
    told = console.export_text()
    for words in (
        "ready canvases",
        "the way alone",
        "95.0%",
        "holds: forward: 95.0% of the bare throughput at 4",
        "5.0 ms added",
        "of CPU time",
        "No GPU here",
    ):
        assert words in told
    assert benchmark.decode_bound(result(benchmark, device="cuda")) == (
        "GPU: 10 images/s, 5% of the 200 that 4 decoders can feed it"
    )

"""benchmarks/hl7.py runs, and measures everything it names."""

from __future__ import annotations

import importlib.util
from pathlib import Path

FILE = Path(__file__).parents[2] / "benchmarks" / "hl7.py"


def test_the_benchmark_of_reading_runs() -> None:
    specification = importlib.util.spec_from_file_location("benchmark_of_reading", FILE)
    assert specification is not None and specification.loader is not None
    benchmark = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(benchmark)
    found = benchmark.run(rounds=1, seconds=0.02)
    assert len(found) == 2
    for kind, medians in found.items():
        assert {"radstream: values", "radstream: event as JSON", "python-hl7", "hl7apy"} <= set(medians), kind
        assert all(rate > 0 for rate in medians.values()), kind

"""benchmarks/hl7.py runs, and what it is to show holds by a wide margin on any machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path

FILE = Path(__file__).parents[2] / "benchmarks" / "hl7.py"


def test_reading_is_faster_than_the_peers() -> None:
    specification = importlib.util.spec_from_file_location("benchmark_of_reading", FILE)
    assert specification is not None and specification.loader is not None
    benchmark = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(benchmark)
    for kind, medians in benchmark.run(rounds=1, seconds=0.05).items():
        assert medians["radstream: values"] > 5 * medians["python-hl7"], kind
        assert medians["radstream: values"] > 50 * medians["hl7apy"], kind
        assert medians["radstream: event as JSON"] > medians["python-hl7"], kind

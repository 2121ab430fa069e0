"""`radstream demo` as a newcomer runs it: what it writes, and that it leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from schemas.findings import DEMONSTRATION

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(400)]


def processes_of(folder: Path) -> list[str]:
    """Command lines and environments that name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:  # it has ended, or is not ours
            continue
        if str(folder).encode() in told:
            found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def test_the_demo(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    told = subprocess.run(
        [sys.executable, "-m", "streams", "demo", "--folder", str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert not processes_of(folder)

    resources = json.loads((folder / "fhir.json").read_text())
    chest = {resource["resourceType"]: resource for resource in resources["DEMO-CHEST-1"]}
    assert chest["DiagnosticReport"]["status"] == "partial"
    assert DEMONSTRATION in chest["DiagnosticReport"]["conclusion"]
    assert len(resources["DEMO-CHEST-1"]) == 1 + len(chest["DiagnosticReport"]["result"])
    assert [resource["status"] for resource in resources["DEMO-LEG-1"]] == ["cancelled", "cancelled"]

    bundle = json.loads((folder / "bundle.json").read_text())
    assert bundle["type"] == "collection"
    findings = [e for e in bundle["entry"] if e["resource"]["resourceType"] == "Observation"][1:]
    assert findings, "the film shows several large masses"

    picture = np.asarray(Image.open(folder / "finding.png").convert("RGB")).astype(int)
    coloured = np.abs(picture[..., 0] - picture[..., 2]) > 100
    assert coloured.sum() > 500, "no box is drawn on the radiograph"

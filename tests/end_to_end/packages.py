"""Packages for an engine under test: those that come with the source, and a second version that says other numbers."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from models.registry import PACKAGES

FIRST, SECOND = "chest-nodule/1", "chest-nodule/2"

#: lines of the first card, and what the second one has there: another calibration and threshold of the same network
_CHANGED = {"version": '"2"', "offset": "-1.5", "threshold": "0.44"}


def packages_in(folder: Path) -> Path:
    """The packages of `FIRST`, `SECOND` and the gate, in this folder."""
    for reference in (FIRST, "chest-gate/1"):
        shutil.copytree(PACKAGES / reference, folder / reference)
    shutil.copytree(PACKAGES / FIRST, folder / SECOND)
    card = folder / SECOND / "card.toml"
    text = card.read_text()
    for key, value in _CHANGED.items():
        text, changed = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text, count=1)
        assert changed, f"the card of {FIRST} has no line {key}"
    card.write_text(text)
    return folder

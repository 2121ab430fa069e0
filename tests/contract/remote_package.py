"""A package whose numbers come from an inference server: the card of another one, with [remote] in the place of its weights."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.contract.panel_package import write_package

SERVER = "gpu"


def remote_package(package: Path, root: Path, *, model_name: str, binary: bool, max_batch: int = 4) -> Path:
    """`package`: NAME/VERSION whose network is `model_name` of its version, on the server that the settings call SERVER."""
    card = tomllib.loads((package / "card.toml").read_text("utf-8"))
    for part in ("architecture", "weights", "program"):
        card.pop(part, None)
    card["remote"] = {
        "server": SERVER,
        "model_name": model_name,
        "model_version": card["version"],
        "input": "canvas",
        "binary": binary,
        "max_batch": max_batch,
    }
    return write_package(root, card, {})

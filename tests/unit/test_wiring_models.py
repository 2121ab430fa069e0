"""What the settings say of models reaches whatever loads one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from models.gated import Gated
from models.inference import PackageModel
from models.registry import PACKAGES
from streams.model_settings import ModelSettings
from streams.wiring.models import image_model, loaded

GATE = PACKAGES / "chest-gate" / "1"


def test_the_settings_of_a_model_reach_its_load(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = cast(PackageModel, object()), list[dict[str, Any]]()

    def load(folder: Path, **terms: Any) -> PackageModel:
        asked.append({"folder": folder, **terms})
        return model

    monkeypatch.setattr("models.registry.load", load)
    terms = ModelSettings(fast=True, threads=3, device="cuda", remotes={"gpu": {"url": "http://127.0.0.1:1"}})
    assert loaded(Path("nodules/1"), None, terms) == (model, None)
    assert image_model(Path("nodules/1"), None, terms) is model
    assert isinstance(image_model(Path("nodules/1"), GATE, terms), Gated)
    for told in asked:
        assert told.pop("remote").keywords == {"remotes": terms.remotes}
        assert told == {"folder": Path("nodules/1"), "fast": True, "threads": 3, "device": "cuda"}
    assert len(asked) == 3

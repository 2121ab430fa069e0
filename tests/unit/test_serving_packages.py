"""Packages as the settings name them, served: what is loaded here stays ready, what is on a server of the site is asked."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from connectors.inference_served import Served
from connectors.objects import in_memory
from streams.serving.films import Films
from streams.serving.process import served_package
from streams.settings import Settings
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.panel_package import DEVICES, panel_card, write_package
from tests.unit.http_peer import http_peer
from tests.unit.inference_caller import LIMIT
from tests.unit.v2_servers import READY, Scripted, well

NUMBERS = [0.5, -1.5, 2.5, 0.0]


def _remote_package(root: Path) -> None:
    """The devices of the panel, as the server of the site tells them. No fixture: it may be served."""
    card: dict[str, Any] = panel_card() | {"heatmap": None, "program": None, "test_fixture": False}
    card["remote"] = {"server": "gpu", "model_name": "chest.network", "model_version": "1", "input": "canvas"}
    card["self_test"] = {"tolerance": 0.001, "columns": {"devices": NUMBERS}}
    write_package(root, card, {})


async def _ready(models: list[Served]) -> list[bool]:
    return [await one.ready() for one in models]


async def test_of_a_package_on_a_server_that_is_away_neither_model_is_ready(tmp_path: Path) -> None:
    _remote_package(tmp_path)
    devices = {"name": "devices", "shape": [1, len(DEVICES)], "datatype": "FP32", "data": NUMBERS}
    films = Films(None, FakeStudyArchive(), "http://127.0.0.1:1", in_memory(), LIMIT, LIMIT)  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        with http_peer(Scripted(well(outputs=[devices]), **READY)) as url:
            settings = Settings(models={"url": str(tmp_path), "gate": None, "remotes": {"gpu": {"url": url}}})
            models = await served_package(settings, "panel/1", films, stack)
            assert [one.name for one in models] == ["panel", "panel.network"]
            assert await _ready(models) == [True, True]
        assert await _ready(models) == [False, False]

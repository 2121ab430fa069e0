"""Packages for tests: one with everything of a chest panel, of random weights, and the committed model as a program."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.card import Input, read_card
from models.chest_nodule import ChestNoduleNetwork
from models.inference import canvas_of
from models.postprocessing import strength
from models.registry import PACKAGES, fill, self_test_image, self_test_of
from models.torch_network import TorchNetwork
from schemas.coding import SNOMED_CT

CANVAS, STRIDE = 64, 4
#: devices in a chest radiograph: PS3.16 CID 6404 (endotracheal tube, cardiac pacemaker), CID 74 (central venous catheter);
#: nasogastric tube: SNOMED CT, 17102003 |Nasogastric tube, device (physical object)|
DEVICES = {
    "central-venous-catheter": ("52124006", "Central venous catheter"),
    "endotracheal-tube": ("26412008", "Endotracheal tube"),
    "nasogastric-tube": ("17102003", "Nasogastric tube"),
    "pacemaker": ("14106009", "Cardiac pacemaker"),
}


class PanelNetwork(nn.Module):
    """(n, 1, 64, 64) -> "heatmap", (n, 1, 16, 16), and "devices", (n, 4): logits of nothing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(20261129)
        self.trunk = nn.Sequential(nn.Conv2d(1, 8, 3, STRIDE, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.cells = nn.Conv2d(8, 1, 1)
        self.answer = nn.Linear(8, len(DEVICES))
        nn.init.normal_(self.cells.weight, 0, 2)
        nn.init.normal_(self.answer.weight, 0, 20)
        self.eval()

    def forward(self, canvas: Tensor) -> dict[str, Tensor]:
        seen = self.trunk(canvas)
        return {"heatmap": self.cells(seen), "devices": self.answer(seen.mean((2, 3)))}


def exported(network: nn.Module, canvas: int, *, channels: int = 1, most: int | None = 256) -> bytes:
    """A program for up to `most` images at a time; None: for one."""
    shapes = None if most is None else ({0: torch.export.Dim("images", min=1, max=most)},)
    program = torch.export.export(
        network, (torch.zeros(1 if most is None else 2, channels, canvas, canvas),), dynamic_shapes=shapes
    )
    out = io.BytesIO()
    torch.export.save(program, out)
    return out.getvalue()


@functools.cache
def panel_program() -> bytes:
    return exported(PanelNetwork(), CANVAS)


@functools.cache
def chest_nodule_program() -> bytes:
    return exported(_committed_network(), 448)


def panel_card() -> dict[str, Any]:
    """Of the panel's program."""
    given = Input(canvas=CANVAS, millimetres_per_pixel=430 / CANVAS)
    network = TorchNetwork(PanelNetwork())
    said = self_test_of(network, given, heatmap="heatmap", columns=["devices"], tolerance=0.001)
    card = _committed_card()
    card |= {
        "name": "panel",
        "version": "1",
        "test_fixture": True,
        "known_failures": ["It has learnt nothing: its weights are random."],
    }
    card["input"] |= {"canvas": CANVAS, "millimetres_per_pixel": given.millimetres_per_pixel}
    card["heatmap"] |= {"stride": STRIDE, "threshold": 0.5, "outline": 0.0, "slope": 4.0, "offset": -4 * _strength(network, given)}
    card["outputs"] = [
        {
            "name": name,
            "tensor": "devices",
            "column": column,
            "activation": "sigmoid",
            "coding": {"system": SNOMED_CT, "code": code, "display": display},
            "threshold": 0.5,
        }
        for column, (name, (code, display)) in enumerate(DEVICES.items())
    ]
    card["program"] = _described(panel_program())
    card["training"] = {"data": [], "licence": [], "method": "none: random weights"}
    card["performance"] = []
    return card | {"self_test": said.model_dump(mode="json")}


def panel_package(root: Path, **changes: object) -> Path:
    """root/panel/1; `changes` of its card."""
    return write_package(root, panel_card() | changes, {"program.pt2": panel_program()})


def chest_nodule_package(root: Path) -> Path:
    """root/chest-nodule/1 as a program: the committed package's answers without its code. No fixture: it may speak."""
    card = _committed_card()
    return write_package(root, card | {"program": _described(chest_nodule_program())}, {"program.pt2": chest_nodule_program()})


def write_package(root: Path, card: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    folder = root / str(card["name"]) / str(card["version"])
    folder.mkdir(parents=True)
    (folder / "card.toml").write_text("\n".join(f"{key} = {toml(value)}" for key, value in card.items() if value is not None))
    for name, stored in files.items():
        (folder / name).write_bytes(stored)
    return folder


def toml(value: object) -> str:
    """On one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f'"{key}" = {toml(one)}' for key, one in value.items() if one is not None) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value) if isinstance(value, (str, bool)) else repr(value)


def _described(program: bytes) -> dict[str, str]:
    return {"file": "program.pt2", "sha256": hashlib.sha256(program).hexdigest(), "torch": torch.__version__}


def _strength(network: TorchNetwork, given: Input) -> float:
    """A little below that of the self-test's film, so that of drawn films some have findings and some have none."""
    return strength(torch.from_numpy(network(canvas_of(given, self_test_image())[0].numpy())["heatmap"])) - 0.05


def _committed_card() -> dict[str, Any]:
    card = tomllib.loads((PACKAGES / "chest-nodule" / "1" / "card.toml").read_text(encoding="utf-8"))
    return {key: value for key, value in card.items() if key not in ("architecture", "weights")}


def _committed_network() -> nn.Module:
    folder = PACKAGES / "chest-nodule" / "1"
    card, network = read_card(folder), ChestNoduleNetwork()
    assert card.weights is not None
    fill(network, folder, card.weights, "chest-nodule/1", "chest-nodule-fpn")
    return network

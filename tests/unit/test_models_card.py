"""What a card may say: a wrong one is refused before any weight is read, and the place is named."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from models.card import Card, read_card
from models.registry import PACKAGES
from schemas.errors import SettingsInvalid
from tests.contract.panel_package import toml

Changed = Callable[[dict[str, Any]], object]
COMMITTED = PACKAGES / "chest-nodule" / "1"
LINE: Mapping[str, Any] = {
    "name": "central-venous-catheter",
    "tensor": "devices",
    "activation": "sigmoid",
    "coding": {"system": "http://snomed.info/sct", "code": "52124006", "display": "Central venous catheter"},
    "threshold": 0.5,
}


def panel() -> dict[str, Any]:
    """The committed card with an output beside its heatmap."""
    card = tomllib.loads((COMMITTED / "card.toml").read_text())
    card["outputs"] = [dict(LINE, coding=dict(LINE["coding"]))]
    card["self_test"]["columns"] = {"devices": [0.25]}
    return card


def written(package: Path, card: Mapping[str, Any]) -> Path:
    """As TOML, inline."""
    package.mkdir(parents=True)
    (package / "card.toml").write_text("\n".join(f"{key} = {toml(value)}" for key, value in card.items()))
    return package


def drop(*path: str) -> Changed:
    def change(card: dict[str, Any]) -> None:
        for step in path[:-1]:
            card = card[step]
        del card[path[-1]]

    return change


def put(value: object, *path: str | int) -> Changed:
    def change(card: Any) -> None:
        for step in path[:-1]:
            card = card[step]
        card[path[-1]] = value

    return change


def test_the_committed_card() -> None:
    card = read_card(COMMITTED)
    assert (card.service, card.test_fixture, card.input.channels) == ("chest-radiograph-findings", False, 1)
    assert card.tensors == ("heatmap",)
    assert card.identity("0" * 64).weights_sha256 == card.weights.sha256 if card.weights else False


def test_outputs_beside_a_heatmap(tmp_path: Path) -> None:
    card = read_card(written(tmp_path / "panel" / "1", panel()))
    assert card.tensors == ("heatmap", "devices")
    assert card.outputs[0].coding.code == "52124006"


def test_outputs_without_a_heatmap_and_on_a_server(tmp_path: Path) -> None:
    said = panel()
    for key in ("heatmap", "architecture", "weights"):
        del said[key]
    del said["self_test"]["heatmap"]
    said["remote"] = {"server": "triton", "model_name": "lines", "model_version": "7", "input": "canvas"}
    card = read_card(written(tmp_path / "panel" / "1", said))
    assert card.tensors == ("devices",)
    assert card.identity("a" * 64).weights_sha256 == "a" * 64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("52124007", "outputs", 0, "coding", "code"), r"outputs\[0\]\.coding\.code: the check digit is wrong"),
        (put("SNOMED", "outputs", 0, "coding", "system"), r"outputs\[0\]\.coding\.system: unknown code system; known are http"),
        (put("RID1", "heatmap", "codes", "nodule", "code"), r"heatmap\.codes\.nodule\.code: no code of http://snomed"),
        (drop("heatmap", "codes", "mass"), r"heatmap: each of the kinds has a code"),
        (put("mm3", "outputs", 0, "unit"), r"outputs\[0\]\.unit: unknown unit"),
        (put("mm", "outputs", 0, "unit"), r"outputs\[0\]: a probability has the unit 1"),
        (put(1.5, "outputs", 0, "threshold"), r"outputs\[0\]: the threshold of a probability"),
        (put("Central Line", "outputs", 0, "name"), r"outputs\[0\]\.name: String should match"),
        (put("relu", "outputs", 0, "activation"), r"outputs\[0\]\.activation: Input should be 'sigmoid'"),
        (put([LINE, LINE], "outputs"), "outputs: each name once"),
        (put("heatmap", "outputs", 0, "tensor"), "a heatmap or has columns, not both"),
        (put(1, "surprise"), "surprise: Extra inputs are not permitted"),
        (put(1, "input", "surprise"), r"input\.surprise: Extra inputs"),
        (drop("known_failures"), "known_failures: Field required"),
        (drop("self_test", "heatmap"), r"self_test\.heatmap goes with \[heatmap\]"),
        (drop("self_test", "columns"), r"self_test\.columns are of all the tensors"),
        (put([], "self_test", "columns", "devices"), r"self_test\.columns: of each tensor all columns"),
        (put([0.5, 0.5], "input", "mean"), "mean and spread are of 1 or of 3 channels"),
        (put(0, "input", "spread", 0), r"input\.spread\[0\]: Input should be greater than 0"),
        (put(float("nan"), "self_test", "heatmap", "mean"), r"self_test\.heatmap\.mean: Input should be a finite number"),
        (drop("weights"), r"one of \[weights\], \[program\] and \[remote\]"),
        (drop("architecture"), r"an architecture goes with \[weights\]"),
        (put("../weights.safetensors", "weights", "file"), r"weights\.file: String should match"),
        (put("weights.pt", "weights", "file"), r"weights\.file: String should match"),
        (put("a" * 63, "weights", "sha256"), r"weights\.sha256: String should match"),
        (put({"file": "p.pt2", "sha256": "0" * 64, "torch": "2.15.0"}, "program"), r"one of \[weights\], \[program\]"),
        (put("../1", "version"), "version: String should match"),
        (put("Chest X-ray", "service"), "service: String should match"),
    ],
)
def test_a_wrong_card_is_refused_and_the_place_is_named(tmp_path: Path, change: Changed, words: str) -> None:
    card = panel()
    change(card)
    with pytest.raises(SettingsInvalid, match=rf"^load: panel/1: card\.toml: .*{words}.*: correct the card$"):
        read_card(written(tmp_path / "panel" / "1", card))


def test_a_card_that_reads_nothing(tmp_path: Path) -> None:
    card = panel()
    del card["heatmap"], card["outputs"], card["self_test"]["heatmap"], card["self_test"]["columns"]
    with pytest.raises(SettingsInvalid, match="nothing is read"):
        read_card(written(tmp_path / "panel" / "1", card))


@pytest.mark.parametrize("stored", [b"name = ", b"\xff\xfe", b"\x80\x04K\x01."])
def test_a_card_that_is_not_toml(tmp_path: Path, stored: bytes) -> None:
    (tmp_path / "card.toml").write_bytes(stored)
    with pytest.raises(SettingsInvalid, match=r"not TOML.*restore it"):
        read_card(tmp_path)


@pytest.mark.parametrize("package", ["nothing", "card.toml"])
def test_no_package_there(tmp_path: Path, package: str) -> None:
    (tmp_path / "card.toml").touch()
    with pytest.raises(SettingsInvalid, match=r"no card\.toml: see RADSTREAM_MODELS__URL"):
        read_card(tmp_path / package)


def test_every_error_of_a_card_is_told_at_once(tmp_path: Path) -> None:
    card = panel()
    del card["known_failures"]
    card["outputs"][0]["unit"] = "inch"
    with pytest.raises(SettingsInvalid, match=r"outputs\[0\]\.unit.*; known_failures: Field required"):
        read_card(written(tmp_path / "panel" / "1", card))


def test_a_card_is_frozen() -> None:
    card: Card = read_card(COMMITTED)
    with pytest.raises(ValueError, match="frozen"):
        card.version = "2"  # type: ignore[misc]

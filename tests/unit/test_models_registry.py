"""A package that is not what its card promises never speaks."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load as read_safetensors
from safetensors.torch import save

from models.card import Card, read_card
from models.card_origin import Remote
from models.inference import PackageModel
from models.registry import PACKAGES, load, self_test_of, verify
from models.torch_network import TorchNetwork
from schemas.errors import ModelFailed, ModelUnavailable, SettingsInvalid
from schemas.ports import Network
from tests.contract.finding_model import expected, radiograph
from tests.contract.panel_package import CANVAS, PanelNetwork, chest_nodule_package, panel_card, panel_package, write_package

COMMITTED = PACKAGES / "chest-nodule" / "1"
STORED = (COMMITTED / "weights.safetensors").read_bytes()
Change = Callable[[dict[str, torch.Tensor]], object]


def package(root: Path, stored: bytes = STORED, **changes: Any) -> Path:
    """The committed package with these weights and their checksum; `changes` of its card."""
    card = tomllib.loads((COMMITTED / "card.toml").read_text())
    card["weights"]["sha256"] = hashlib.sha256(stored).hexdigest()
    return write_package(root, card | changes, {"weights.safetensors": stored})


def changed(change: Change) -> bytes:
    tensors = read_safetensors(STORED)
    change(tensors)
    return save(tensors)


# ---------------------------------------------------------------------------------------------------------- that speaks


def test_the_committed_package() -> None:
    said = verify(COMMITTED)
    assert (said.identity.name, said.identity.version) == ("chest-nodule", "1")
    assert said.identity.weights_sha256 == hashlib.sha256(STORED).hexdigest()
    assert 0 <= said.deviation <= said.tolerance == 0.01


def test_as_an_exported_program_it_says_the_same(tmp_path: Path) -> None:
    program, committed = load(chest_nodule_package(tmp_path)), load(COMMITTED)
    assert program.identity.weights_sha256 != committed.identity.weights_sha256
    for number in range(3):
        one, other = expected(program, radiograph(number)), expected(committed, radiograph(number))
        assert one.image.probability == pytest.approx(other.image.probability, abs=1e-4)
        assert [f.region for f in one.findings] == [f.region for f in other.findings]


# ------------------------------------------------------------------------------------------------------------- its card


def test_no_package_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"no card\.toml: see RADSTREAM_MODELS__URL"):
        load(tmp_path)


@pytest.mark.parametrize("change", [{"name": "other"}, {"version": "2"}])
def test_a_folder_that_is_not_the_cards(tmp_path: Path, change: dict[str, str]) -> None:
    folder = package(tmp_path)
    card = (folder / "card.toml").read_text()
    for key, value in change.items():
        card = card.replace(f'{key} = "{"chest-nodule" if key == "name" else "1"}"', f'{key} = "{value}"', 1)
    (folder / "card.toml").write_text(card)
    with pytest.raises(SettingsInvalid, match=r"^load: chest-nodule/1: its card is that of .*: name the folders so"):
        load(folder)


def test_an_architecture_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="'other'; this version knows chest-nodule-fpn"):
        load(package(tmp_path, architecture="other"))


def test_a_fixture_of_tests_is_refused_outside_them(tmp_path: Path) -> None:
    folder = panel_package(tmp_path)
    with pytest.raises(SettingsInvalid, match="panel/1: it is a fixture of tests"):
        load(folder)
    with pytest.raises(SettingsInvalid, match="fixture"):
        verify(folder)
    assert load(folder, tests=True).card.test_fixture


# ------------------------------------------------------------------------------------------------------------- its files


@pytest.mark.parametrize("stored", [STORED[:-1], b"", STORED[:-100] + bytes([STORED[-100] ^ 1]) + STORED[-99:]])
def test_another_checksum_than_the_cards(tmp_path: Path, stored: bytes) -> None:
    folder = package(tmp_path)
    (folder / "weights.safetensors").write_bytes(stored)
    with pytest.raises(ModelFailed, match=r"weights\.safetensors does not have the card's SHA-256: copy the package again"):
        load(folder)


def test_weights_missing(tmp_path: Path) -> None:
    folder = package(tmp_path)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelFailed, match="is missing: copy the package again"):
        load(folder)


class _Pickled:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


def _pickle() -> bytes:
    out = io.BytesIO()
    torch.save(_Pickled(), out)
    return out.getvalue()


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\x80\x04K\x01.",
        _pickle(),
        changed(lambda tensors: tensors.pop("head.1.bias")),
        changed(lambda tensors: tensors.update(surprise=torch.zeros(1))),
        changed(lambda tensors: tensors.update({"head.1.bias": torch.zeros(7)})),
    ],
    ids=["nothing", "a pickle", "a checkpoint of torch.save", "a missing tensor", "an extra tensor", "another shape"],
)
def test_weights_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFailed, match="does not fit chest-nodule-fpn"):
        load(package(tmp_path, stored))
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers(tmp_path: Path, value: float) -> None:
    stored = changed(lambda tensors: tensors["head.1.bias"].fill_(value))
    with pytest.raises(ModelFailed, match="not finite"):
        load(package(tmp_path, stored))


# ---------------------------------------------------------------------------------------------------------- its self-test


@pytest.mark.parametrize("answer", [{"highest": 8.72, "mean": -11.2705}, {"highest": 8.6978, "mean": 11.2705}])
def test_another_answer_than_the_cards(tmp_path: Path, answer: dict[str, float]) -> None:
    with pytest.raises(ModelFailed, match=r"self-test: chest-nodule/1: its answer differs .*do not use the model on this machine"):
        load(package(tmp_path, self_test={"tolerance": 0.01, "heatmap": answer}))


def test_columns_in_another_order_than_the_cards(tmp_path: Path) -> None:
    said = panel_card()["self_test"]
    first, second, *rest = said["columns"]["devices"]
    with pytest.raises(ModelFailed, match="its answer differs"):
        load(panel_package(tmp_path, self_test=said | {"columns": {"devices": [second, first, *rest]}}), tests=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heatmap": {"stride": 8}}, r"tensor heatmap has shape \(1, 1, 16, 16\), not \(1, 1, 8, 8\)"),
        ({"heatmap": {"tensor": "places"}}, "tensor places is missing"),
        ({"self_test": {"columns": {"devices": [0.0] * 5}}}, r"tensor devices has shape \(1, 4\), not \(1, 5\)"),
    ],
)
def test_tensors_that_are_not_the_cards(tmp_path: Path, changes: Mapping[str, Mapping[str, Any]], words: str) -> None:
    card = panel_card()
    with pytest.raises(ModelFailed, match=rf"^self-test: panel/1: the network's {words}"):
        load(panel_package(tmp_path, **{key: card[key] | change for key, change in changes.items()}), tests=True)


# ------------------------------------------------------------------------------------------------------------- on a server


class Server:
    """A `Network` elsewhere, as far as can be told from here."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.closed = 0

    def __call__(self, canvases: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        return self.network(canvases)

    def close(self) -> None:
        self.closed += 1


REMOTE = {"server": "triton", "model_name": "panel", "model_version": "7", "input": "canvas", "binary": True, "max_batch": 8}


def remote_panel(root: Path) -> Path:
    return write_package(root, panel_card() | {"program": None, "remote": REMOTE}, {})


def test_a_model_on_a_server(tmp_path: Path) -> None:
    folder, server, asked = remote_panel(tmp_path), Server(TorchNetwork(PanelNetwork())), []

    def connect(remote: Remote, names: object) -> Network:
        asked.append((remote, names))
        return server

    model = load(folder, remote=connect, tests=True)
    assert asked == [(Remote.model_validate(REMOTE), ("heatmap", "devices"))]
    assert model.identity.weights_sha256 == hashlib.sha256((folder / "card.toml").read_bytes()).hexdigest()
    here = load(panel_package(tmp_path / "here"), tests=True)
    one, other = expected(model, radiograph(2)).image, expected(here, radiograph(2)).image
    assert one.probability == pytest.approx(other.probability, abs=1e-4)
    model.close()
    assert server.closed == 1


def test_a_server_that_answers_as_another_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PanelNetwork()
    network.answer.reset_parameters()
    server = Server(TorchNetwork(network))
    with pytest.raises(ModelFailed, match="its answer differs"):
        load(remote_panel(tmp_path), remote=lambda remote, names: server, tests=True)
    assert server.closed == 1


def test_a_server_that_is_away(tmp_path: Path) -> None:
    class Away(Server):
        def __call__(self, canvases: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
            raise ModelUnavailable("inference", "panel/7", "no answer")

    server = Away(TorchNetwork(PanelNetwork()))
    with pytest.raises(ModelUnavailable):
        load(remote_panel(tmp_path), remote=lambda remote, names: server, tests=True)
    assert server.closed == 1


def test_nobody_here_may_ask_a_server(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="it is on an inference server, and none may be asked from here"):
        load(remote_panel(tmp_path), tests=True)


# ------------------------------------------------------------------------------------------------------------------ others


def test_what_a_card_has_to_say_of_its_self_test() -> None:
    card = read_card(COMMITTED)
    model: PackageModel = load(COMMITTED)
    said = self_test_of(model.network, card.input, heatmap="heatmap", columns=[], tolerance=0.01)
    assert said.heatmap is not None and card.self_test.heatmap is not None
    assert said.heatmap.highest == pytest.approx(card.self_test.heatmap.highest, abs=0.01)
    panel = Card.model_validate(panel_card())
    assert panel.input.canvas == CANVAS and len(panel.self_test.columns["devices"]) == 4


def test_importing_models_does_not_import_torch() -> None:
    code = "import sys, models, models.card; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=PACKAGES.parents[1]).returncode == 0

"""A package that is not what its card promises never speaks."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from models.card import read_card
from models.chest_nodule import ChestNoduleNetwork
from models.registry import PACKAGES, load_model, self_test_answer
from schemas.errors import ModelFailed, SettingsInvalid

COMMITTED = PACKAGES / "chest-nodule" / "1"


def write(package: Path, network: ChestNoduleNetwork, stored: bytes | None = None, **changes: str) -> Path:
    """The committed card with this network's checksum and answers; `changes` replace whole lines by their key."""
    package.mkdir(parents=True)
    stored = save(network.state_dict()) if stored is None else stored
    (package / "weights.safetensors").write_bytes(stored)
    highest, mean = self_test_answer(network)
    answer = {"highest": str(highest), "mean": str(mean)} | {k: changes.pop(k) for k in ("highest", "mean") if k in changes}
    values = {
        "sha256": f'"{hashlib.sha256(stored).hexdigest()}"',
        "heatmap": f"{{ highest = {answer['highest']}, mean = {answer['mean']} }}",
    } | changes
    lines = (COMMITTED / "card.toml").read_text().splitlines()
    changed = [f"{key} = {values[key]}" if (key := line.split(" = ")[0]) in values else line for line in lines]
    (package / "card.toml").write_text("\n".join(changed))
    return package


@pytest.fixture
def network() -> ChestNoduleNetwork:
    torch.manual_seed(0)
    return ChestNoduleNetwork().eval()


def test_the_committed_package_loads() -> None:
    model = load_model(COMMITTED)
    assert (model.identity.name, model.identity.version) == ("chest-nodule", "1")
    assert model.identity.weights_sha256 == hashlib.sha256((COMMITTED / "weights.safetensors").read_bytes()).hexdigest()
    assert 0 < model.threshold < 1


def test_a_package_of_its_own_loads(tmp_path: Path, network: ChestNoduleNetwork) -> None:
    assert load_model(write(tmp_path / "n" / "2", network)).card.name == "chest-nodule"


def test_no_package_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"no card\.toml: see RADSTREAM_MODELS__URL"):
        load_model(tmp_path)


def test_a_card_that_is_not_toml(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text("name = ")
    with pytest.raises(SettingsInvalid, match=r"not TOML.*restore it"):
        read_card(tmp_path)


def test_a_card_with_a_wrong_value_is_named(tmp_path: Path, network: ChestNoduleNetwork) -> None:
    package = write(tmp_path / "n" / "2", network, threshold="1.5")
    with pytest.raises(SettingsInvalid, match=r"heatmap\.threshold: .*: correct the card"):
        read_card(package)


def test_an_architecture_nobody_knows(tmp_path: Path, network: ChestNoduleNetwork) -> None:
    package = write(tmp_path / "n" / "2", network, architecture='"other"')
    with pytest.raises(SettingsInvalid, match="'other'; this version knows chest-nodule-fpn"):
        load_model(package)


def test_weights_missing(tmp_path: Path, network: ChestNoduleNetwork) -> None:
    package = write(tmp_path / "n" / "2", network)
    (package / "weights.safetensors").unlink()
    with pytest.raises(ModelFailed, match="is missing: copy the package again"):
        load_model(package)


def test_one_flipped_bit(tmp_path: Path, network: ChestNoduleNetwork) -> None:
    package = write(tmp_path / "n" / "2", network)
    stored = bytearray((package / "weights.safetensors").read_bytes())
    stored[-100] ^= 1
    (package / "weights.safetensors").write_bytes(stored)
    with pytest.raises(ModelFailed, match="SHA-256: copy the package again"):
        load_model(package)


@pytest.mark.parametrize("stored", [b"", b"\x80\x04K\x01.", save({"stem.0.weight": torch.zeros(1)})])
def test_weights_that_fit_their_checksum_but_not_the_network(tmp_path: Path, network: ChestNoduleNetwork, stored: bytes) -> None:
    with pytest.raises(ModelFailed, match="does not fit chest-nodule-fpn"):
        load_model(write(tmp_path / "n" / "2", network, stored))


@pytest.mark.parametrize("answer", ["highest", "mean"])
def test_another_answer_than_the_cards(tmp_path: Path, network: ChestNoduleNetwork, answer: str) -> None:
    package = write(tmp_path / "n" / "2", network, **{answer: "77.0"})
    with pytest.raises(ModelFailed, match=r"the card says .*do not use the model on this machine"):
        load_model(package)


def test_weights_that_are_not_numbers(tmp_path: Path, network: ChestNoduleNetwork) -> None:
    network.head[-1].bias.data.fill_(float("nan"))
    with pytest.raises(ModelFailed, match="not finite"):
        load_model(write(tmp_path / "n" / "2", network, highest="0.0", mean="0.0"))


def test_importing_models_does_not_import_torch() -> None:
    code = "import sys, models, models.card; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=PACKAGES.parents[1]).returncode == 0

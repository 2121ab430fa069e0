"""From a package folder to a model that may speak: card, checksum, weights, self-test, in this order."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from models.card import Card, Weights, read_card
from models.chest_nodule import ChestNoduleNetwork
from models.inference import NoduleModel
from models.preprocessing import to_canvas
from schemas.errors import ModelFailed, SettingsInvalid

#: the packages that come with the source
PACKAGES = Path(__file__).parent / "packages"
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"chest-nodule-fpn": ChestNoduleNetwork}


def load_model(package: Path, threads: int = 1) -> NoduleModel:
    """Raises SettingsInvalid (no package there, unknown architecture) or ModelFailed (damaged, or not what the card promises)."""
    card = read_card(package)
    return NoduleModel(load_network(package, card), card, threads)


def load_network(package: Path, card: Card) -> nn.Module:
    """The verified network in evaluation mode, float32."""
    reference = f"{card.name}/{card.version}"
    if card.architecture not in ARCHITECTURES or card.weights is None:
        known = ", ".join(ARCHITECTURES)
        raise SettingsInvalid("load", reference, f"unknown architecture {card.architecture!r}; this version knows {known}")
    network = ARCHITECTURES[card.architecture]()
    fill(network, package, card.weights, reference, card.architecture)
    check_self(network, card)
    return network


def fill(network: nn.Module, package: Path, weights: Weights, reference: str, architecture: str) -> None:
    """The package's weights into the network, float32, in evaluation mode. Raises ModelFailed when they are not those of the
    card, do not fit or are not finite."""
    try:
        stored = (package / weights.file).read_bytes()
    except FileNotFoundError as error:
        raise ModelFailed("load", reference, f"{weights.file} is missing: copy the package again, whole") from error
    # the bytes that were hashed are the bytes that are read: no second look at the file
    if hashlib.sha256(stored).hexdigest() != weights.sha256:
        raise ModelFailed("load", reference, f"{weights.file} does not have the card's SHA-256: copy the package again")
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in load(stored).items()})
    except (SafetensorError, RuntimeError) as error:
        raise ModelFailed("load", reference, f"{weights.file} does not fit {architecture}: take another package") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values()):
        raise ModelFailed("load", reference, f"{weights.file} holds numbers that are not finite: take another package")
    network.eval()


def self_test_image() -> NDArray[np.float32]:
    """A drawn chest, no patient: two dark fields on a bright ground, ribs, three discs. (600, 500), 0 to 4095."""
    y, x = np.mgrid[0:600, 0:500].astype(np.float32)
    image = np.full((600, 500), 3000.0, dtype=np.float32)
    for centre in (150, 350):
        image -= 1900 * np.exp(-(((x - centre) / 75) ** 4) - ((y - 270) / 190) ** 4)
    image += 120 * np.sin(y / 14) * (image < 2400)
    for column, row, radius in ((140, 200, 14), (370, 330, 28), (330, 180, 9)):
        image += 700 * np.clip(1 - ((x - column) ** 2 + (y - row) ** 2) / radius**2, 0, None) ** 0.5
    return np.clip(image, 0, 4095).astype(np.float32)


@torch.inference_mode()
def self_test_answer(network: nn.Module) -> tuple[float, float]:
    """Highest and mean logit."""
    canvas, _ = to_canvas(self_test_image())
    logits = network(canvas)
    return float(logits.max()), float(logits.mean())


def check_self(network: nn.Module, card: Card) -> None:
    """Raises ModelFailed when this machine does not get the card's answer."""
    highest, mean = self_test_answer(network)
    wanted, tolerance = card.self_test.heatmap, card.self_test.tolerance
    # written so that NaN fails
    if wanted is None or not max(abs(highest - wanted.highest), abs(mean - wanted.mean)) <= tolerance:
        said = f"{wanted.highest:.4f}, {wanted.mean:.4f}" if wanted else "nothing"
        raise ModelFailed(
            "self-test",
            f"{card.name}/{card.version}",
            f"highest and mean logit {highest:.4f}, {mean:.4f}; the card says {said} "
            f"within {tolerance}: do not use the model on this machine; compare torch's version with the lock",
        )

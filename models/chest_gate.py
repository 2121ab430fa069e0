"""Headers lie: whether the pixels show a frontal chest radiograph, upright, bright = dense. A network, its package and card."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from models.card import read_card_as
from models.card_origin import Weights
from models.preprocessing import to_canvas
from models.registry import fill, self_test_image
from schemas.errors import ModelFailed
from schemas.findings import Probability

#: side of the gate's canvas: ribs vanish, lungs, heart and diaphragm stay
SIDE = 64
WIDTHS = (16, 32, 48, 64)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GateSelfTest(_Part):
    """Logit of `models.registry.self_test_image`; tolerance is absolute, for other CPUs' rounding."""

    logit: float
    tolerance: Annotated[float, Field(gt=0)]


class GateTraining(_Part):
    data: list[str]
    licence: list[str]
    method: str
    arguments: str
    films: int
    patients: int
    #: other images, by the first 16 digits of the SHA-256 of their pixels as read: none of these may be in a test
    others: list[str]


class GatePerformance(_Part):
    """On the test split: unseen patients, unseen other images. `refused`: by kind, [refused, of]."""

    films: int
    patients: int
    passed: int
    #: Clopper-Pearson, one-sided 95 %
    passed_lower_bound: Probability
    altered_films: int
    altered_passed: int
    refused: dict[str, tuple[int, int]]


class GateCard(_Part):
    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z.-]+$")]
    architecture: Literal["chest-gate-cnn"]
    statement: str
    canvas: Literal[64]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    threshold_rule: str
    weights: Weights
    self_test: GateSelfTest
    training: GateTraining
    performance: GatePerformance
    known_failures: list[str]


class ChestGateNetwork(nn.Sequential):
    """(n, 1, 64, 64) standardised greys -> (n, 1) logits. Where a shadow lies counts, so nothing is averaged over the image."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in zip((1, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        cells = (SIDE >> len(WIDTHS)) ** 2
        super().__init__(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(WIDTHS[-1] * cells, 1))


def gate_canvas(pixels: NDArray[np.float32] | NDArray[np.uint16]) -> Tensor:
    """(1, 1, 64, 64). Raises ValueError: not 2-D, empty, a value that is not finite, no contrast."""
    if pixels.ndim != 2 or not pixels.size:
        raise ValueError(f"the image has shape {pixels.shape}; rows x columns are needed")
    values = np.asarray(pixels, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError("the image holds values that are not finite")
    # before it is shrunk: rounding gives a single grey some contrast
    if not values.max() > values.min():
        raise ValueError("the image holds no contrast")
    canvas, _ = to_canvas(values, SIDE)
    return canvas


class ChestGate:
    """Holds no state between calls; about a millisecond for a canvas, the rest is shrinking the image."""

    def __init__(self, network: nn.Module, threshold: float) -> None:
        self.network = network.eval()
        #: below it the image is refused
        self.threshold = threshold

    @torch.inference_mode()
    def probability(self, pixels: NDArray[np.float32] | NDArray[np.uint16]) -> float:
        """`Radiograph.pixels` (2-D, bright = dense, any size and unit) -> 0..1 that it is a frontal chest radiograph.

        Raises ValueError: not 2-D, empty, a value that is not finite, no contrast.
        """
        return float(torch.sigmoid(self.network(gate_canvas(pixels))))

    def __call__(self, pixels: NDArray[np.float32] | NDArray[np.uint16]) -> bool:
        """Whether the image may pass. Raises as `probability`."""
        return self.probability(pixels) >= self.threshold


@torch.inference_mode()
def self_test_logit(network: nn.Module) -> float:
    return float(network(gate_canvas(self_test_image())))


def load_gate(package: Path) -> ChestGate:
    """Card, checksum, weights, self-test, in this order. Raises SettingsInvalid, ModelFailed (damaged, or another answer)."""
    card = read_card_as(GateCard, package)
    reference = f"{card.name}/{card.version}"
    network = ChestGateNetwork()
    fill(network, package, card.weights, reference, card.architecture)
    logit = self_test_logit(network)
    # written so that NaN fails
    if not abs(logit - card.self_test.logit) <= card.self_test.tolerance:
        said = f"logit {logit:.4f}; the card says {card.self_test.logit:.4f} within {card.self_test.tolerance}"
        raise ModelFailed("self-test", reference, f"{said}: do not use the gate on this machine")
    return ChestGate(network, card.threshold)

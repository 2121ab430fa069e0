"""From the heatmap to boxes in image pixels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.chest_nodule import STRIDE
from models.preprocessing import Placement


@dataclass(frozen=True)
class OperatingPoint:
    """How a heatmap is read, from the model card.

    slope, offset: probability = sigmoid(slope * logit + offset), fitted on the validation split.
    threshold: probability from which a region is reported. outline: logit from which a cell belongs to a region.
    """

    threshold: float
    outline: float
    slope: float
    offset: float

    def probability(self, logit: float) -> float:
        scaled = self.slope * logit + self.offset
        return 1 / (1 + math.exp(-scaled)) if scaled >= 0 else math.exp(scaled) / (1 + math.exp(scaled))

    @property
    def floor(self) -> float:
        """The outline, or just under the threshold's logit where that is lower: every cell that alarms is in a region."""
        if not 0 < self.threshold < 1:
            return self.outline
        return min(self.outline, (math.log(self.threshold / (1 - self.threshold)) - self.offset) / self.slope - 1e-4)


@dataclass(frozen=True)
class Box:
    """Image pixels, from the outer corner of the upper left pixel; width and height > 0, wholly inside the image."""

    left: float
    top: float
    width: float
    height: float
    probability: float


def components(mask: Tensor) -> Tensor:
    """(rows, columns) boolean -> int64 label of each cell's 8-connected region, 0 outside; labels have gaps."""
    numbers = torch.arange(1, mask.numel() + 1, dtype=torch.float64).reshape(mask.shape)
    labels = torch.where(mask, numbers, 0.0)
    while True:  # the highest number floods its region
        grown = F.max_pool2d(labels[None, None], 3, 1, 1)[0, 0] * mask
        if torch.equal(grown, labels):
            return grown.long()
        labels = grown


def on_image(logits: Tensor, placement: Placement) -> Tensor:
    """(rows, columns) logits with the cells that lie wholly on the padding at -inf."""
    kept = torch.full_like(logits, -math.inf)
    rows = slice(placement.top // STRIDE, math.ceil((placement.top + placement.height) / STRIDE))
    columns = slice(placement.left // STRIDE, math.ceil((placement.left + placement.width) / STRIDE))
    kept[rows, columns] = logits[rows, columns]
    return kept


def score(logits: Tensor, placement: Placement, point: OperatingPoint) -> float:
    """The image's probability: that of its highest cell."""
    return point.probability(float(on_image(logits, placement).max()))


def boxes(logits: Tensor, placement: Placement, point: OperatingPoint) -> list[Box]:
    """Regions above the outline whose highest cell reaches the threshold, most probable first. logits: (rows, columns)."""
    kept = on_image(logits, placement)
    labels = components(kept >= point.floor)
    found = []
    for label in torch.unique(labels).tolist():
        region = labels == label
        probability = point.probability(float(kept[region].max())) if label else 0.0
        if label == 0 or probability < point.threshold:
            continue
        rows, columns = region.any(1).nonzero(), region.any(0).nonzero()
        left, top = placement.to_image(float(columns.min()) * STRIDE, float(rows.min()) * STRIDE)
        right, bottom = placement.to_image(float(columns.max() + 1) * STRIDE, float(rows.max() + 1) * STRIDE)
        left, top = max(left, 0.0), max(top, 0.0)
        right, bottom = min(right, float(placement.columns)), min(bottom, float(placement.rows))
        found.append(Box(left, top, right - left, bottom - top, probability))
    return sorted(found, key=lambda box: (-box.probability, box.top, box.left))

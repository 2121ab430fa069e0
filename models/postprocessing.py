"""From the heatmap to boxes in image pixels."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from models.card import Heatmap
from models.local_contrast import STRIDE
from models.preprocessing import Placement

#: where no cell reaches the outline, a region is what lies this close (in logits) to the highest cell
NEAR_PEAK = 1.0


@dataclass(frozen=True)
class OperatingPoint:
    """How a heatmap is read, from the model card.

    slope, offset: probability = sigmoid(slope * strength + offset), fitted on the validation split.
    threshold: probability from which a film or a region alarms. outline: logit from which a cell belongs to a region.
    stride: canvas pixels per cell.
    """

    threshold: float
    outline: float
    slope: float
    offset: float
    stride: int = STRIDE

    @classmethod
    def of(cls, card: Heatmap, film_logit: float = 0.0) -> "OperatingPoint":
        """Of one film: what is said of it as a whole counts for it and for all its regions."""
        point = cls(card.threshold, card.outline, card.slope, card.offset, card.stride)
        return replace(point, offset=card.offset + card.film.slope * film_logit) if card.film else point

    def probability(self, strength: float) -> float:
        scaled = self.slope * strength + self.offset
        return 1 / (1 + math.exp(-scaled)) if scaled >= 0 else math.exp(scaled) / (1 + math.exp(scaled))


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


def on_image(logits: Tensor, placement: Placement, stride: int = STRIDE) -> Tensor:
    """(rows, columns) logits with the cells that lie wholly on the padding at -inf."""
    kept = torch.full_like(logits, -math.inf)
    rows = slice(placement.top // stride, math.ceil((placement.top + placement.height) / stride))
    columns = slice(placement.left // stride, math.ceil((placement.left + placement.width) / stride))
    kept[rows, columns] = logits[rows, columns]
    return kept


def strength(logits: Tensor) -> float:
    """Of some cells together: the logarithm of their summed odds. Nearly the highest cell where one stands out; several weak
    places count for more than one of them."""
    return float(torch.logsumexp(logits.flatten().double(), 0))


def score(logits: Tensor, placement: Placement, point: OperatingPoint) -> float:
    """The image's probability, of all its cells together."""
    return point.probability(strength(on_image(logits, placement, point.stride)))


def boxes(logits: Tensor, placement: Placement, point: OperatingPoint) -> list[Box]:
    """Regions that reach the threshold, most probable first; none when the image stays below it, and at least its strongest
    region when it does not. logits: (rows, columns)."""
    kept = on_image(logits, placement, point.stride)
    if score(logits, placement, point) < point.threshold:
        return []
    labels = components(kept >= min(point.outline, float(kept.max()) - NEAR_PEAK))
    regions = [labels == label for label in torch.unique(labels).tolist() if label]
    found = sorted((_box(r, kept, placement, point) for r in regions), key=lambda box: (-box.probability, box.top, box.left))
    return [box for n, box in enumerate(found) if n == 0 or box.probability >= point.threshold]


def _box(region: Tensor, kept: Tensor, placement: Placement, point: OperatingPoint) -> Box:
    rows, columns = region.any(1).nonzero(), region.any(0).nonzero()
    left, top = placement.to_image(float(columns.min()) * point.stride, float(rows.min()) * point.stride)
    right, bottom = placement.to_image(float(columns.max() + 1) * point.stride, float(rows.max() + 1) * point.stride)
    left, top = max(left, 0.0), max(top, 0.0)
    right, bottom = min(right, float(placement.columns)), min(bottom, float(placement.rows))
    return Box(left, top, right - left, bottom - top, point.probability(strength(kept[region])))

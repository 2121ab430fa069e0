"""What networks see beside the greys: each place against its surroundings. No torchvision here: it takes seconds to import."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

#: canvas pixels per heatmap cell
STRIDE = 4
#: side in canvas pixels over which local contrast is measured, wider than most nodules; spread below which it is noise
SURROUNDINGS = 49
FLAT = 0.1


def local_contrast(canvas: Tensor) -> Tensor:
    """Each pixel against the mean and spread of its surroundings: faint nodules stand out, a vendor's contrast curve cancels."""
    difference = canvas - _surroundings(canvas)
    return difference / (_surroundings(difference**2).sqrt() + FLAT)


def _surroundings(canvas: Tensor) -> Tensor:
    half = SURROUNDINGS // 2
    lines = F.avg_pool2d(canvas, (SURROUNDINGS, 1), 1, (half, 0), count_include_pad=False)
    return F.avg_pool2d(lines, (1, SURROUNDINGS), 1, (0, half), count_include_pad=False)

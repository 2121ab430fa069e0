"""The network of version 2: EfficientNet-Lite0 (Tan, Le 2019; Google 2020), a top-down pyramid, one heatmap, one film logit.

The trunk begins with ImageNet weights. Its batch normalisation is used with fixed statistics, also in training: the answer at a
place does not depend on what else is in the batch.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.local_contrast import local_contrast

#: repeats, kernel, stride, expansion, width: EfficientNet-Lite0
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM = 32
#: blocks after which the picture is 4, 8, 16 and 32 times smaller, and their widths
TAPS = {2: 24, 4: 40, 10: 112, 15: 320}
PYRAMID_CHANNELS = 64
#: share of heatmap cells said to hold a nodule before anything is learnt
PRIOR = 0.02


class Same(nn.Conv2d):
    """A convolution padded as TensorFlow pads ("same"): with stride 2, more at the right and lower edge. Sides are even."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, 0 if stride == 2 else kernel // 2, groups=groups, bias=False)
        self.before, self.after = (kernel - 2) // 2, (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 2:
            x = F.pad(x, (self.before, self.after, self.before, self.after))
        if self.groups > 1 and torch.is_autocast_enabled("cpu"):
            # the backward pass of a depthwise convolution is much slower in half precision there
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


def _normalised(convolution: nn.Module, width: int, active: bool = True) -> nn.Sequential:
    layers = [convolution, nn.BatchNorm2d(width, eps=1e-3)]
    return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if active else nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Widen, look around in each channel alone, narrow."""

    def __init__(self, inputs: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        parts = [_normalised(Same(inputs, inner, 1), inner)] if expansion != 1 else []
        parts.append(_normalised(Same(inner, inner, kernel, stride, inner), inner))
        parts.append(_normalised(Same(inner, width, 1), width, active=False))
        self.parts = nn.Sequential(*parts)
        self.adds = stride == 1 and inputs == width

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.parts(x)
        return x + y if self.adds else y


class ChestNoduleLite(nn.Module):
    """(N, 1, H, W) float32, normalised as `models.preprocessing` does -> "heatmap" (N, 1, H/4, W/4), logits of nodules and masses;
    "film" (N, 1), the logit that the film's report names any finding. H and W are multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _normalised(Same(2, STEM, 3, 2), STEM)
        blocks = []
        inputs = STEM
        for repeats, kernel, stride, expansion, width in STAGES:
            for n in range(repeats):
                blocks.append(InvertedResidual(inputs, width, kernel, stride if n == 0 else 1, expansion))
                inputs = width
        self.blocks = nn.ModuleList(blocks)
        self.laterals = nn.ModuleList(nn.Conv2d(width, PYRAMID_CHANNELS, 1) for width in TAPS.values())
        answer = nn.Conv2d(PYRAMID_CHANNELS, 1, 1)
        nn.init.constant_(answer.bias, math.log(PRIOR / (1 - PRIOR)))  # type: ignore[arg-type]
        self.head = nn.Sequential(
            nn.Conv2d(PYRAMID_CHANNELS, PYRAMID_CHANNELS, 3, 1, 1),
            nn.ReLU(inplace=True),
            answer,
        )
        self.film = nn.Linear(2 * inputs, 1)
        nn.init.zeros_(self.film.weight)

    def forward(self, canvas: Tensor) -> dict[str, Tensor]:
        x = self.stem(torch.cat([canvas, local_contrast(canvas)], 1))
        taps = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in TAPS:
                taps.append(x)
        film = self.film(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))
        y = self.laterals[-1](taps[-1])
        for lateral, tap in zip(self.laterals[-2::-1], taps[-2::-1], strict=True):
            y = lateral(tap) + F.interpolate(y, scale_factor=2.0, mode="nearest")
        return {"heatmap": self.head(y), "film": film}

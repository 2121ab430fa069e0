"""The network: a small residual trunk, a feature pyramid, one heatmap of nodules and masses.

Fully convolutional: trained on crops, applied to the whole canvas. Batch normalisation (not group normalisation) because its
fixed statistics make the answer at a place independent of how much film surrounds it.
"""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork

from models.local_contrast import local_contrast

WIDTHS = (32, 64, 128, 192)
PYRAMID_CHANNELS = 64
#: share of heatmap cells said to hold a nodule before anything is learnt
PRIOR = 0.08


def _stage(inputs: int, width: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inputs != width:
        shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
    return nn.Sequential(BasicBlock(inputs, width, stride, shortcut), BasicBlock(width, width))


class ChestNoduleNetwork(nn.Module):
    """(N, 1, H, W) float32, normalised as `models.preprocessing` does -> (N, 1, H/4, W/4) logits; H and W multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(2, WIDTHS[0], 7, 2, 3, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        inputs = (WIDTHS[0], *WIDTHS[:-1])
        self.stages = nn.ModuleList(
            _stage(i, width, 1 if n == 0 else 2) for n, (i, width) in enumerate(zip(inputs, WIDTHS, strict=True))
        )
        self.pyramid = FeaturePyramidNetwork(list(WIDTHS), PYRAMID_CHANNELS)
        answer = nn.Conv2d(PYRAMID_CHANNELS, 1, 1)
        nn.init.constant_(answer.bias, math.log(PRIOR / (1 - PRIOR)))  # type: ignore[arg-type]
        self.head = nn.Sequential(
            nn.Conv2d(PYRAMID_CHANNELS, PYRAMID_CHANNELS, 3, 1, 1, bias=False),
            nn.BatchNorm2d(PYRAMID_CHANNELS),
            nn.ReLU(inplace=True),
            answer,
        )

    def forward(self, canvas: Tensor) -> Tensor:
        features: OrderedDict[str, Tensor] = OrderedDict()
        x = self.stem(torch.cat([canvas, local_contrast(canvas)], 1))
        for number, stage in enumerate(self.stages):
            x = stage(x)
            features[str(number)] = x
        logits: Tensor = self.head(self.pyramid(features)["0"])
        return logits

"""A radiograph onto the model's canvas, with the way back from canvas to image pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

#: side of the square canvas: about 0.95 mm a pixel for a full chest film of 35 x 43 cm
CANVAS = 448
#: black, middle and white of the film. Three points, not two: vendors differ mostly by a monotone grey-scale curve
QUANTILES = (0.01, 0.5, 0.99)
#: a film whose middle lies near its black or white end is not stretched without limit
EXPONENT_RANGE = (0.4, 2.5)


@dataclass(frozen=True)
class Placement:
    """Where the image lies on the canvas. All coordinates are continuous, pixel edges: (0, 0) is the outer corner."""

    columns: int
    rows: int
    left: int
    top: int
    width: int
    height: int

    @classmethod
    def of(cls, rows: int, columns: int, canvas: int = CANVAS) -> "Placement":
        """Long side to the canvas, aspect kept, centred. rows, columns >= 1 in image pixels."""
        scale = canvas / max(rows, columns)
        width, height = max(1, round(columns * scale)), max(1, round(rows * scale))
        return cls(columns, rows, (canvas - width) // 2, (canvas - height) // 2, width, height)

    @property
    def content(self) -> tuple[slice, slice]:
        """The canvas rows and columns the image covers."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def to_canvas(self, x: float, y: float) -> tuple[float, float]:
        return self.left + x * self.width / self.columns, self.top + y * self.height / self.rows

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        return (x - self.left) * self.columns / self.width, (y - self.top) * self.rows / self.height


@dataclass(frozen=True)
class GreyScale:
    """The curve of one film: value -> clip((value - black) / (white - black), 0, 1) ** exponent."""

    black: float
    white: float
    exponent: float

    @classmethod
    def of(cls, values: Tensor) -> "GreyScale":
        """Read from the film's own quantiles; raises ValueError when the film holds a single grey."""
        black, middle, white = (float(q) for q in torch.quantile(values.flatten(), torch.tensor(QUANTILES)))
        if not white > black:
            raise ValueError("the image holds no contrast")
        level = min(max((middle - black) / (white - black), 1e-3), 1 - 1e-3)
        exponent = float(np.clip(np.log(0.5) / np.log(level), *EXPONENT_RANGE))
        return cls(black, white, exponent)

    def linear(self, values: Tensor) -> Tensor:
        return (values - self.black) / (self.white - self.black)

    def apply(self, values: Tensor) -> Tensor:
        return self.linear(values).clamp(0, 1) ** self.exponent


def resize(image: NDArray[np.float32], height: int, width: int) -> Tensor:
    """(rows, columns) -> (height, width) float32, area-filtered when shrinking."""
    source = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]
    return F.interpolate(source, (height, width), mode="bilinear", antialias=True, align_corners=False)[0, 0]


def standardise(greys: Tensor, mean: float = 0.5, spread: float = 0.25) -> Tensor:
    """[0, 1] -> about zero mean and unit spread, as the network was trained."""
    return (greys - mean) / spread


def to_canvas(
    image: NDArray[np.float32], canvas: int = CANVAS, mean: Sequence[float] = (0.5,), spread: Sequence[float] = (0.25,)
) -> tuple[Tensor, Placement]:
    """A 2-D radiograph, white = dense (MONOCHROME2 sense), any linear unit -> (1, channels, canvas, canvas) and where it lies
    there; mean and spread are of each channel.

    Raises ValueError when the image holds no contrast.
    """
    rows, columns = image.shape
    placement = Placement.of(rows, columns, canvas)
    content = resize(image, placement.height, placement.width)
    square = torch.zeros(canvas, canvas)
    square[placement.content] = GreyScale.of(content).apply(content)
    return torch.stack([standardise(square, *channel) for channel in zip(mean, spread, strict=True)])[None], placement

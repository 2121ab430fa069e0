"""From stored values to what a model may see: bright is dense, what is hidden is dark, and what a pixel measures."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut

Pixels = NDArray[np.float32] | NDArray[np.uint16]


def bright_is_dense(image: Dataset, stored: NDArray[Any]) -> Pixels:
    """Modality LUT (PS3.3 C.11.1), then MONOCHROME1 (the lowest value is white, PS3.3 C.7.6.3.1.2) turned over within the
    range that the stored bits can give, not within the range that this image happens to use."""
    signed = image.PixelRepresentation == 1
    low, high = (-(1 << image.BitsStored - 1), (1 << image.BitsStored - 1) - 1) if signed else (0, (1 << image.BitsStored) - 1)
    turned = image.PhotometricInterpretation == "MONOCHROME1"
    if image.get("ModalityLUTSequence"):
        values = apply_modality_lut(stored, image)
        possible = apply_modality_lut(np.arange(low, high + 1, dtype=stored.dtype), image)
        return np.ascontiguousarray(possible.min() + possible.max() - values if turned else values, dtype=np.uint16)
    slope, intercept = float(image.get("RescaleSlope") or 1), float(image.get("RescaleIntercept") or 0)
    if (slope, intercept) == (1, 0) and not signed:
        return np.ascontiguousarray(high - stored if turned else stored, dtype=np.uint16)
    rescaled = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if turned:
        rescaled = np.float32(slope * (low + high) + 2 * intercept) - rescaled
    if not np.isfinite(rescaled).all():
        raise ValueError("the rescale gives no finite values")
    return rescaled


def hidden_pixels(image: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """True where a pixel is padding (PS3.3 C.7.5.1.1.2) or outside one of the shutters (C.7.6.11); None: the file has neither.
    Raises ValueError, AttributeError when it has one that cannot be read."""
    hidden: NDArray[np.bool_] | None = None
    if image.get("PixelPaddingValue") is not None:
        hidden = _padding(image, stored)
    shapes = image.get("ShutterShape") or ()
    for shape in (shapes,) if isinstance(shapes, str) else shapes:
        if shape in _SHUTTERS:
            outside = ~_SHUTTERS[shape](image)
            hidden = outside if hidden is None else hidden | outside
    return hidden


def without_hidden(pixels: Pixels, hidden: NDArray[np.bool_] | None) -> Pixels:
    """Hidden pixels take the darkest value of the others, at least one: they neither stretch the grey scale nor are seen."""
    if hidden is None or not hidden.any():
        return pixels
    shown = pixels.copy()
    shown[hidden] = pixels[~hidden].min()
    return shown


def _padding(image: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """From Pixel Padding Value to its Range Limit, both included and in either order, as stored values; some send the bits of
    a signed value as an unsigned one."""
    ends = [int(image.PixelPaddingValue), int(image.get("PixelPaddingRangeLimit", image.PixelPaddingValue))]
    unused = stored.dtype.itemsize * 8 - image.BitsStored
    bits = np.array([end & (1 << image.BitsAllocated) - 1 for end in ends], f"<u{stored.dtype.itemsize}").view(stored.dtype)
    low, high = sorted(np.right_shift(np.left_shift(bits, unused), unused))
    padding: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return padding


def _rectangle(image: Dataset) -> NDArray[np.bool_]:
    """Edges as columns and rows from 1; they are shown."""
    shown = np.zeros((image.Rows, image.Columns), np.bool_)
    left, upper = max(image.ShutterLeftVerticalEdge, 1) - 1, max(image.ShutterUpperHorizontalEdge, 1) - 1
    shown[upper : max(image.ShutterLowerHorizontalEdge, 0), left : max(image.ShutterRightVerticalEdge, 0)] = True
    return shown


def _circle(image: Dataset) -> NDArray[np.bool_]:
    """Centre as row and column from 1; pixels are taken as square."""
    row, column = image.CenterOfCircularShutter
    down, across = np.arange(1.0, image.Rows + 1) - row, np.arange(1.0, image.Columns + 1) - column
    shown: NDArray[np.bool_] = down[:, None] ** 2 + across[None, :] ** 2 <= float(image.RadiusOfCircularShutter) ** 2
    return shown


def _polygon(image: Dataset) -> NDArray[np.bool_]:
    """Vertices as rows and columns from 1, closed by itself; even-odd rule, an edge may fall to either side. Each edge turns
    inside and outside over once in every row that it crosses."""
    numbers = [int(number) for number in image.VerticesOfThePolygonalShutter]
    corners = list(zip(numbers[::2], numbers[1::2], strict=True))
    turns = np.zeros((image.Rows, image.Columns + 1), np.bool_)
    for (row, column), (next_row, next_column) in pairwise([*corners, corners[0]]):
        rows = np.arange(max(min(row, next_row), 1), min(max(row, next_row), image.Rows + 1))
        if rows.size:
            crossed = column + (rows - row) * (next_column - column) / (next_row - row)
            turns[rows - 1, np.clip(np.ceil(crossed) - 1, 0, image.Columns).astype(int)] ^= True
    return np.logical_xor.accumulate(turns, axis=1)[:, :-1]


_SHUTTERS = {"RECTANGULAR": _rectangle, "CIRCULAR": _circle, "POLYGONAL": _polygon}


def pixel_spacing(image: Dataset) -> tuple[tuple[float, float] | None, str | None]:
    """Row and column spacing in mm, and the plane in which it is true (PS3.3 10.7.1.3): calibrated Pixel Spacing holds in
    the patient, Imager Pixel Spacing at the detector, and divided by the Estimated Radiographic Magnification Factor at some
    depth in the patient, as GEOMETRY does; uncalibrated Pixel Spacing of a projection says nothing."""
    if image.get("PixelSpacingCalibrationType") in ("GEOMETRY", "FIDUCIAL"):
        calibrated = _spacing(image.get("PixelSpacing"))
        if calibrated is not None:
            return calibrated, "patient"
    detector = _spacing(image.get("ImagerPixelSpacing"))
    if detector is None:
        return None, None
    magnification = float(image.get("EstimatedRadiographicMagnificationFactor") or 0)  # SID / SOD, PS3.3 C.8.7.10
    if 1 <= magnification < 3:  # 1 is the detector itself; behind it lies nobody, and nobody stands so near to the tube
        return (detector[0] / magnification, detector[1] / magnification), "patient"
    return detector, "detector"


def _spacing(value: Any) -> tuple[float, float] | None:
    """DS, VM 2; None for what no detector has: zeros and infinities are sent, too."""
    if not isinstance(value, MultiValue) or len(value) != 2:
        return None
    row, column = float(value[0]), float(value[1])
    return (row, column) if 0 < row < 100 and 0 < column < 100 else None

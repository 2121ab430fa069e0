"""What a rendering process runs: from untrusted Part 10 bytes to a picture for people. Never imports torch.

A radiograph has at most 65,536 stored values, so the grey of each is worked out once and looked up. Text that is burned into
the pixels stays where it is.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_windowing

from connectors.decoding_worker import digest_of, opened, our_own_words
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Rendering

#: zlib's fastest: 6, its default, takes five times as long for a sixth less
_COMPRESSION = 1
_BLACK = 0


def render(part10: bytes, expected: SOPInstanceUID, pixel_limit: int) -> Rendering:
    """See `ImageRenderer.render`. `pixel_limit`: rows x columns x frames x samples."""
    with our_own_words(expected):
        image, stored, hidden = opened(part10, expected, pixel_limit)
        picture = np.take(_greys(image, stored if hidden is None else stored[~hidden]), stored)
        if hidden is not None:
            picture[hidden] = _BLACK
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG", compress_level=_COMPRESSION)
        return Rendering(file.getvalue(), digest_of(stored))


def _greys(image: Dataset, shown: NDArray[Any]) -> NDArray[np.uint8]:
    """Of every stored value, negative ones behind the others, where numpy looks for them."""
    half = 1 << image.BitsStored - 1
    every = np.r_[:half, -half:0] if image.PixelRepresentation == 1 else np.arange(2 * half)
    grey = _seen(image, _modality_values(image, every), shown)
    if not np.isfinite(grey).all():
        raise ValueError("the headers give no finite greys")
    # PS3.3 C.8.11.3: INVERSE and MONOCHROME1 go together. Where they do not, viewers (and DCMTK) follow the shape
    shape = image.get("PresentationLUTShape")
    turned = shape == "INVERSE" or (shape != "IDENTITY" and image.PhotometricInterpretation == "MONOCHROME1")
    return np.rint(255 - grey if turned else grey).astype(np.uint8)


def _modality_values(image: Dataset, stored: NDArray[np.int64]) -> NDArray[Any]:
    """PS3.3 C.11.1."""
    if image.get("ModalityLUTSequence"):
        values: NDArray[Any] = apply_modality_lut(stored, image)
        return values
    return stored * float(image.get("RescaleSlope") or 1) + float(image.get("RescaleIntercept") or 0)


def _seen(image: Dataset, values: NDArray[Any], shown: NDArray[Any]) -> NDArray[np.float64]:
    """From 0 to 255, by PS3.3 C.11.2: the first VOI LUT, else the first window, else from the lowest to the highest value shown."""
    if image.get("VOILUTSequence"):
        return _looked_up(image.VOILUTSequence[0], values, little_endian=image.file_meta.TransferSyntaxUID.is_little_endian)
    center, width = _first(image.get("WindowCenter")), _first(image.get("WindowWidth"))
    function = image.get("VOILUTFunction") or "LINEAR"
    if center is None or width is None or width < (1 if function == "LINEAR" else np.finfo(float).tiny):  # 0 is sent for "none"
        in_use = np.zeros(values.shape, np.bool_)
        in_use[shown] = True
        low, high = float(values[in_use].min()), float(values[in_use].max())
        center, width, function = (low + high) / 2, (high - low) or 1.0, "LINEAR_EXACT"
    window = Dataset()
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = center, width, function
    # apply_windowing gives the range of these bits
    window.PhotometricInterpretation, window.BitsStored, window.PixelRepresentation = "MONOCHROME2", 8, 0
    windowed: NDArray[np.float64] = apply_windowing(values, window)
    return windowed


def _looked_up(lut: Dataset, values: NDArray[Any], *, little_endian: bool) -> NDArray[np.float64]:
    """PS3.3 C.11.2.1.1. Not pydicom's apply_voi: it folds what a LUT of 8 bits holds beyond its 256th entry."""
    entries, first, bits = lut.LUTDescriptor
    entries = entries or 1 << 16
    data = lut.LUTData
    table = np.frombuffer(data, "<u2" if little_endian else ">u2") if isinstance(data, bytes) else np.array(data, "<u2")
    if bits == 8 and len(table) < entries:
        table = table.view(np.uint8)  # two in a word
    if not 8 <= bits <= 16 or len(table) < entries:
        raise ValueError("the VOI LUT is not what its descriptor says")
    places = np.clip(np.rint(values) - first, 0, entries - 1).astype(np.int64)
    greys: NDArray[np.float64] = np.minimum(table[places] * (255 / ((1 << bits) - 1)), 255)
    return greys


def _first(value: Any) -> float | None:
    """DS, VM 1-n."""
    one = value if isinstance(value, (float, int, str)) or value is None else next(iter(value), None)
    return None if one is None else float(one)

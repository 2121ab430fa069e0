"""What runs inside a decoding process: from untrusted Part 10 bytes to pixels. Never imports torch.

Everything a file provokes becomes one of our errors here, named by its kind alone: messages of libraries quote headers.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import logging
import os
import resource
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import gdcm
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from connectors.decoding_codestream import check_inflated, coded_size
from connectors.decoding_pixels import bright_is_dense, hidden_pixels, pixel_spacing, without_hidden
from schemas.errors import InvalidResource, RadstreamError, Unsuitable
from schemas.findings import NotAnalysedReason
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Radiograph

_STEP = "decode"

#: mallopt(3): memory of one radiograph is kept for the next; its pages cost a third of the decoding when they come anew
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST_KEPT = 128 * 1024**2, 32 * 1024**2

#: the fastest of pydicom's plugins by measurement; for all other syntaxes pydicom's own choice
PLUGINS = {
    RLELossless: "pylibjpeg",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "gdcm",
    JPEG2000: "gdcm",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGBaseline8Bit: "gdcm",
    JPEGExtended12Bit: "gdcm",
    HTJ2KLossless: "pylibjpeg",
    HTJ2KLosslessRPCL: "pylibjpeg",
    HTJ2K: "pylibjpeg",
}
#: transfer syntaxes whose coded pixels say their own size
CODESTREAMS = PLUGINS.keys() - {RLELossless}


def initialise(memory_limit_bytes: int) -> None:
    """Once per process: limit the address space, and say nothing (decoders and pydicom print what files contain)."""
    if "torch" in sys.modules:
        raise RuntimeError("a decoding process has imported torch: keep it out of the main module of its parent")
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None)
    for option, value in ((_M_TRIM_THRESHOLD, _KEPT), (_M_MMAP_THRESHOLD, _LARGEST_KEPT)):
        libc.mallopt(option, value)  # where the C library is another one it may refuse: then it is slower
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)


def decode(part10: bytes, expected: SOPInstanceUID, pixel_limit: int) -> Radiograph:
    """See `ImageDecoder.decode`. `pixel_limit`: rows x columns x frames x samples."""
    with our_own_words(expected):
        image, stored, hidden = opened(part10, expected, pixel_limit)
        spacing, plane = pixel_spacing(image)
        return Radiograph(
            sop_instance_uid=expected,
            pixels=without_hidden(bright_is_dense(image, stored), hidden),
            pixel_sha256=digest_of(stored),
            modality=_text(image, "Modality"),
            body_part_examined=_text(image, "BodyPartExamined"),
            view_position=_text(image, "ViewPosition"),
            image_type=_texts(image, "ImageType"),
            series_description=_text(image, "SeriesDescription"),
            protocol_name=_text(image, "ProtocolName"),
            pixel_spacing_mm=spacing,
            pixel_spacing_plane=plane,
        )


@contextmanager
def our_own_words(expected: SOPInstanceUID) -> Iterator[None]:
    """Whatever the bytes provoke becomes InvalidResource."""
    reference = f"instance {expected}"
    try:
        yield
    except (RadstreamError, KeyboardInterrupt):
        raise
    except MemoryError:
        raise InvalidResource(_STEP, reference, "needs more memory than a decoding process may have") from None
    except BaseException as error:  # noqa: BLE001 - a panic of a decoder in Rust is no Exception
        raise InvalidResource(_STEP, reference, f"cannot be read ({type(error).__name__})") from None


class Opened(NamedTuple):
    """A file that is what it says: its headers, its stored values, and where a pixel is hidden (None: nowhere)."""

    image: Dataset
    stored: NDArray[Any]
    hidden: NDArray[np.bool_] | None


def opened(part10: bytes, expected: SOPInstanceUID, pixel_limit: int) -> Opened:
    """Raises InvalidResource, Unsuitable, and whatever pydicom and the decoders raise."""
    reference = f"instance {expected}"
    check_inflated(part10, pixel_limit)
    image = pydicom.dcmread(io.BytesIO(part10), force=False)
    if "SOPInstanceUID" not in image:
        raise InvalidResource(_STEP, reference, "no SOP Instance UID, or truncated")
    if image.SOPInstanceUID != expected:
        raise InvalidResource(_STEP, reference, "the file holds another SOP Instance UID")
    _check_shape(image, pixel_limit, reference)
    _check_codestream(image, reference)
    stored = stored_pixels(image)
    hidden = hidden_pixels(image, stored)
    if hidden is not None and hidden.all():
        raise Unsuitable(_STEP, reference, "Shutter or padding covers the whole image.", NotAnalysedReason.NO_IMAGE)
    return Opened(image, stored, hidden)


def digest_of(stored: NDArray[Any]) -> str:
    """`Radiograph.pixel_sha256`."""
    return hashlib.sha256(stored.data).hexdigest()


def _check_shape(image: Dataset, pixel_limit: int, reference: str) -> None:
    """Before anything is decoded: size, and that it is one grayscale frame."""
    if "PixelData" not in image:
        raise InvalidResource(_STEP, reference, "no Pixel Data, or truncated")
    frames, samples = int(image.get("NumberOfFrames") or 1), int(image.SamplesPerPixel)
    if min(image.Rows, image.Columns, frames, samples) < 1 or image.Rows * image.Columns * frames * samples > pixel_limit:
        raise InvalidResource(_STEP, reference, f"its headers promise no pixel, or more than {pixel_limit}")
    if frames > 1 or samples > 1:
        raise Unsuitable(_STEP, reference, "The image is not a single grayscale projection.", NotAnalysedReason.WRONG_MODALITY)
    if image.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise InvalidResource(_STEP, reference, "one sample per pixel, but not MONOCHROME1 or MONOCHROME2")
    if image.BitsAllocated not in (8, 16) or not 1 <= image.BitsStored <= image.BitsAllocated:
        raise InvalidResource(_STEP, reference, "Bits Allocated or Bits Stored are not those of a radiograph")
    if image.HighBit != image.BitsStored - 1:  # PS3.5 8.1.1
        raise InvalidResource(_STEP, reference, "High Bit is not Bits Stored - 1")


def _check_codestream(image: Dataset, reference: str) -> None:
    """RLE has neither size nor end of its own: it is decoded into what the headers promise."""
    if image.file_meta.TransferSyntaxUID not in CODESTREAMS:
        return
    codestream = codestream_of(image)
    try:
        size = coded_size(codestream)
    except ValueError as error:
        raise InvalidResource(_STEP, reference, f"its coded pixels are broken: {error}") from None
    if size[:3] != (image.Rows, image.Columns, 1) or size.precision > image.BitsAllocated:
        raise InvalidResource(_STEP, reference, "its coded pixels have another shape than its headers promise")


def codestream_of(image: Dataset) -> bytes:
    """The one frame, all its fragments (PS3.5 A.4)."""
    return next(generate_frames(image.PixelData, number_of_frames=1))


def _twelve_bits(image: Dataset) -> NDArray[np.uint16]:
    """JPEG Extended of 12 bits, which pydicom's gdcm plugin refuses and gdcm reads as DCMTK does."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(codestream_of(image))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    coded = gdcm.Image()
    coded.SetNumberOfDimensions(2)
    coded.SetDimensions((image.Columns, image.Rows, 1))
    coded.SetDataElement(element)
    monochrome2 = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    coded.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(monochrome2))
    coded.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(JPEGExtended12Bit))))
    coded.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    buffer = coded.GetBuffer().encode("utf-8", "surrogateescape")  # gdcm gives its char* as str
    return np.frombuffer(buffer, "<u2").reshape(image.Rows, image.Columns)


def stored_pixels(image: Dataset) -> NDArray[Any]:
    """Stored values, shape (rows, columns), C order, little endian, uint8, uint16, int8 or int16: bits above Bits Stored
    (old overlays, sign) are not part of them (PS3.5 8.1.1)."""
    syntax = image.file_meta.TransferSyntaxUID
    stored: NDArray[Any]
    if syntax == JPEGExtended12Bit and image.BitsAllocated == 16 and image.PixelRepresentation == 0:
        stored = _twelve_bits(image)
    else:
        stored = pixel_array(image, decoding_plugin=PLUGINS.get(syntax, ""))
    if stored.shape != (image.Rows, image.Columns):
        raise ValueError("the decoder gave another shape than the headers")
    stored = stored.astype(stored.dtype.newbyteorder("<"), copy=False)  # big endian files give big endian arrays
    unused = stored.dtype.itemsize * 8 - image.BitsStored
    if unused:
        # shifting back is arithmetic where values are signed
        stored = np.right_shift(np.left_shift(stored, unused), unused)
    return np.ascontiguousarray(stored)


def _text(image: Dataset, keyword: str) -> str | None:
    value = image.get(keyword)
    return (value.strip() or None) if isinstance(value, str) else None


def _texts(image: Dataset, keyword: str) -> tuple[str, ...]:
    value = image.get(keyword)
    return (value,) if isinstance(value, str) else tuple(map(str, value or ()))

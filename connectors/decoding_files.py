"""What a decoding process runs for a file from a folder: DICOM (PS3.10), PNG or JPEG. Never imports torch.

A picture is made one of grey: colours by their luma (ITU-R BT.601), what is transparent is black, turned as its EXIF Orientation
says. 16 bits stay 16 bits.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydicom.dataset import Dataset

from connectors.decoding_codestream import check_inflated
from connectors.decoding_worker import decode, digest_of, our_own_words
from connectors.dicomweb_study import CHOOSING_FIELDS
from schemas.errors import InvalidResource
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Radiograph

_STEP = "decode"
#: PS3.10 7.1: behind a preamble of 128 bytes
_DICM = slice(128, 132)
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
#: the last chunk of a PNG (ISO/IEC 15948 11.2.5), without which Pillow is content
_IEND = b"IEND\xaeB`\x82"
#: what Pillow calls 16 bits of grey
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")


@dataclass(frozen=True, slots=True)
class Film:
    """A file's radiograph, and its headers by which images are chosen (DICOM JSON, PS3.18 annex F): None of PNG and JPEG, which
    have none."""

    radiograph: Radiograph
    headers: Mapping[str, Any] | None = None


def read_film(content: bytes, unnamed: SOPInstanceUID, pixel_limit: int, *, inverted: bool = False) -> Film:
    """`unnamed`: the UID of a picture, which has none of its own. `inverted`: dark is dense in pictures (DICOM says it itself).
    Raises InvalidResource, Unsuitable."""
    with our_own_words(unnamed):
        if content[_DICM] == b"DICM":
            return _dicom(content, unnamed, pixel_limit)
        if content.startswith((_PNG, _JPEG)):
            return _picture(content, unnamed, pixel_limit, inverted)
        said = "is neither DICOM (PS3.10), PNG nor JPEG" if content else "is empty"
        raise InvalidResource(_STEP, f"file {unnamed}", f"the file {said}")


def _dicom(content: bytes, unnamed: SOPInstanceUID, pixel_limit: int) -> Film:
    check_inflated(content, pixel_limit)
    image = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=list(CHOOSING_FIELDS))
    try:
        uid = SOPInstanceUID(str(image.get("SOPInstanceUID", "")))
    except ValueError:
        raise InvalidResource(_STEP, f"file {unnamed}", "no SOP Instance UID (PS3.5 9.1), or truncated") from None
    chosen = Dataset({element.tag: element for element in image if element.tag.json_key in CHOOSING_FIELDS})
    return Film(decode(content, uid, pixel_limit), chosen.to_json_dict(suppress_invalid_tags=True))


def _picture(content: bytes, unnamed: SOPInstanceUID, pixel_limit: int, inverted: bool) -> Film:
    reference = f"file {unnamed}"
    if content.startswith(_PNG) and _IEND not in content:
        raise InvalidResource(_STEP, reference, "truncated: the picture has no end")
    Image.MAX_IMAGE_PIXELS = None  # ours is the limit
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
        if picture.width * picture.height * len(picture.getbands()) > pixel_limit:
            raise InvalidResource(_STEP, reference, f"it promises more than {pixel_limit} samples")
        if getattr(picture, "n_frames", 1) > 1:
            raise InvalidResource(_STEP, reference, "the file holds several pictures")
        try:
            grey = _grey(ImageOps.exif_transpose(picture))
        except OSError:  # the words of Pillow's own: truncated, broken data stream
            raise InvalidResource(_STEP, reference, "truncated or broken: its pixels cannot be read") from None
    white = 255 if grey.dtype == np.uint8 else 65535
    pixels = np.ascontiguousarray(white - grey if inverted else grey, dtype=np.uint16)
    return Film(Radiograph(sop_instance_uid=unnamed, pixels=pixels, pixel_sha256=digest_of(grey)))


def _grey(picture: Image.Image) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if picture.mode in _SIXTEEN_BITS:
        return np.ascontiguousarray(np.clip(np.asarray(picture), 0, 65535), dtype=np.uint16)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.composite(picture, Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture.getchannel("A"))
    if picture.mode not in ("1", "L"):
        picture = picture.convert("RGB")
    return np.ascontiguousarray(picture.convert("L"))

"""The same radiograph in every transfer syntax that is decoded; JPEG is encoded by DCMTK, all else by pydicom's encoders."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.conftest import absent
from tests.contract.example_images import part10, radiograph

LOSSLESS = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
)
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000)
#: of DCMTK's dcmcjpeg
_JPEG = {
    JPEGBaseline8Bit: ("+eb", "+q", "98"),
    JPEGExtended12Bit: ("+ee", "+q", "98"),
    JPEGLossless: ("+el",),
    JPEGLosslessSV1: ("+e1",),
}
_OPTIONS: dict[UID, dict[str, object]] = {
    JPEG2000: {"j2k_psnr": [60]},
    JPEGLSNearLossless: {"jls_error": 2},
}


def real_pixels(bits: int, rows: int = 160, columns: int = 192) -> NDArray[np.uint16] | NDArray[np.uint8]:
    """A piece of a real radiograph of 15 bits, the highest `bits` of them; black and white are in it, because DCMTK stretches
    what it codes lossily to the whole range."""
    found = get_testdata_file("RG1_UNCR.dcm", read=False)
    assert isinstance(found, str)
    image = pydicom.dcmread(found)
    whole = np.frombuffer(image.PixelData, "<u2").reshape(image.Rows, image.Columns)
    piece = whole[600 : 600 + rows, 300 : 300 + columns] >> (15 - bits)
    piece[:8, :8], piece[:8, 8:16] = 0, (1 << bits) - 1
    return piece.astype(np.uint8 if bits <= 8 else np.uint16)


def bits_of(syntax: UID) -> int:
    """As many as its coding carries, at most the source's."""
    return {JPEGBaseline8Bit: 8, JPEGExtended12Bit: 12}.get(syntax, 15)


def in_syntax(image: Dataset, syntax: UID, folder: Path) -> bytes:
    """A Part 10 file of the uncompressed `image`, whose SOP Instance UID stays."""
    if syntax in _JPEG:
        return _by_dcmtk(image, _JPEG[syntax], folder)
    if not syntax.is_compressed or syntax == DeflatedExplicitVRLittleEndian:
        if syntax == ExplicitVRBigEndian and image.BitsAllocated == 16:
            image.PixelData = np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes()
        image.file_meta.TransferSyntaxUID = syntax
        file = io.BytesIO()
        pydicom.dcmwrite(
            file, image, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, enforce_file_format=True
        )
        return file.getvalue()
    image.compress(syntax, generate_instance_uid=False, **_OPTIONS.get(syntax, {}))
    return part10(image)


def in_syntaxes(syntaxes: tuple[UID, ...], folder: Path) -> dict[UID, tuple[Dataset, bytes]]:
    """For each: the uncompressed object and its file, the same bytes every time."""
    made = {}
    for syntax in syntaxes:
        bits = bits_of(syntax)
        uids = {f"{of}InstanceUID": f"2.25.{number}" for number, of in enumerate(("SOP", "Study", "Series"), 1000)}
        source = radiograph(real_pixels(bits), BitsStored=bits, PhotometricInterpretation="MONOCHROME1", **uids)
        made[syntax] = (source, in_syntax(pydicom.dcmread(io.BytesIO(part10(source))), syntax, folder))
    return made


def _by_dcmtk(image: Dataset, options: tuple[str, ...], folder: Path) -> bytes:
    if shutil.which("dcmcjpeg") is None:
        absent("DCMTK's dcmcjpeg")
    plain, coded = folder / "plain.dcm", folder / "coded.dcm"
    plain.write_bytes(part10(image))
    subprocess.run(["dcmcjpeg", *options, "--uid-never", str(plain), str(coded)], check=True, capture_output=True, timeout=60)
    return coded.read_bytes()

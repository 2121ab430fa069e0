"""Pixels of real radiographs against DCMTK, which shares no code with what decodes here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from connectors.decoding_worker import decode, stored_pixels
from schemas.identifiers import SOPInstanceUID
from tests.conftest import absent

PYDICOM_DATA = ["RG1_UNCR.dcm", "RG1_J2KR.dcm", "RG1_J2KI.dcm", "RG3_UNCR.dcm", "RG3_J2KR.dcm"]
SHARED = [
    "AIHCND_C2_Starter__test1.dcm",
    "AIHCND_C2_Starter__test2.dcm",
    "dicom-test-files__RG2_JPLL.dcm",
    "dicom-test-files__RG2_RLE.dcm",
    "pylibjpeg-data__966_fixed.dcm",
    "pylibjpeg-data__RG1_JLSN.dcm",
    "simpleitk__cxr.dcm",
]
_DECOMPRESS = {RLELossless: "dcmdrle", JPEGLosslessSV1: "dcmdjpeg"}
_JPEG_LS = "dcmdjpls"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(params=PYDICOM_DATA + SHARED)
def file(request: pytest.FixtureRequest) -> Path:
    name: str = request.param
    if name in SHARED:
        shared: Path = request.getfixturevalue("shared_data")
        return shared / "dicom" / name
    found = get_testdata_file(name, read=False)
    assert isinstance(found, str)
    return Path(found)


def dcmtk(program: str, *arguments: str | Path) -> None:
    if shutil.which(program) is None:
        absent(f"DCMTK's {program}")
    subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, timeout=60)


def uncompressed(file: Path, folder: Path) -> Path:
    """By DCMTK; JPEG 2000, which it does not read, by OpenJPEG (ours is gdcm)."""
    image = pydicom.dcmread(file)
    syntax = image.file_meta.TransferSyntaxUID
    if syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        return file
    plain = folder / "plain.dcm"
    if syntax in (JPEG2000, JPEG2000Lossless):
        image.decompress(decoding_plugin="pylibjpeg", generate_instance_uid=False)
        image.save_as(plain)
    else:
        dcmtk(_DECOMPRESS.get(syntax, _JPEG_LS), file, plain)
    return plain


def test_stored_values(file: Path, tmp_path: Path) -> None:
    ours = stored_pixels(pydicom.dcmread(file))
    theirs = np.frombuffer(pydicom.dcmread(uncompressed(file, tmp_path)).PixelData, ours.dtype)
    np.testing.assert_array_equal(ours, theirs[: ours.size].reshape(ours.shape))


def test_brightness_is_that_of_dcmtks_rendering(file: Path, tmp_path: Path) -> None:
    """DCMTK applies the modality LUT, turns MONOCHROME1 over and, without a window, stretches to 16 bits: a straight line
    with a positive slope, to within its rounding."""
    dcmtk("dcm2pnm", "--no-windowing", "+opw", uncompressed(file, tmp_path), tmp_path / "rendered.pgm")
    rendered = _pgm(tmp_path / "rendered.pgm").astype(np.float64)
    part10 = file.read_bytes()
    ours = decode(part10, SOPInstanceUID(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID), 64 * 1024**2)
    pixels = ours.pixels.astype(np.float64)
    assert rendered.shape == pixels.shape
    slope, intercept = np.polyfit(pixels.ravel(), rendered.ravel(), 1)
    assert slope > 0
    assert np.abs(slope * pixels + intercept - rendered).max() <= 1.0


def test_lossless_jpeg_2000_gives_the_uncompressed_files_digest() -> None:
    digests = set()
    for name in ("RG1_UNCR.dcm", "RG1_J2KR.dcm"):
        found = get_testdata_file(name, read=False)
        assert isinstance(found, str)
        uid = SOPInstanceUID(pydicom.dcmread(found, stop_before_pixels=True).SOPInstanceUID)
        digests.add(decode(Path(found).read_bytes(), uid, 64 * 1024**2).pixel_sha256)
    assert len(digests) == 1


def _pgm(file: Path) -> NDArray[np.uint16]:
    """PGM of 16 bits in ASCII: P2, columns, rows, 65535, values; comments start with #."""
    words = b" ".join(line.partition(b"#")[0] for line in file.read_bytes().splitlines()).split()
    assert words[0] == b"P2"
    columns, rows, highest = (int(word) for word in words[1:4])
    assert highest == 65535
    return np.array(words[4:], dtype=np.int64).astype(np.uint16).reshape(rows, columns)

"""Every transfer syntax gives back what was coded: exactly, or within what its lossy coder was told to keep."""

from __future__ import annotations

import base64
import io

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSNearLossless,
)

from connectors.decoding_codestream import CodedSize, coded_size
from connectors.decoding_worker import CODESTREAMS, codestream_of, decode, stored_pixels
from schemas.errors import InvalidResource
from tests.contract.example_images import part10, radiograph, uid_of
from tests.contract.transfer_syntaxes import LOSSLESS, LOSSY, in_syntaxes

PIXEL_LIMIT = 1_000_000
#: greatest and mean error in parts of the range: quality 98, quality 98, NEAR=2, PSNR 60 dB
TOLERANCE = {
    JPEGBaseline8Bit: (0.02, 0.005),
    JPEGExtended12Bit: (0.02, 0.005),
    JPEGLSNearLossless: (2 / 32767, 2 / 32767),
    JPEG2000: (0.02, 0.001),
}
#: 12 bits, 8 rows x 16 columns of (row * 331 + column * 97) % 4096, reversible; made by OpenJPH (imagecodecs 2026.3.6)
HTJ2K_CODESTREAM = base64.b64decode(
    "/0//UQApQAAAAAAQAAAACAAAAAAAAAAAAAAAEAAAAAgAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQkJCQ"
    "iIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAHMAAf+TwAAmofYFB3QAAMAAEwDs/gKHdADAABLAABOAdACBNADKq7wAwjQAwAATQAAV"
    "gLKygYJ0ANCFDjro/gAYwKdWAMAAKqAAFqBAIBD45gpxAnYAlFKiRIkSJUqU/ugQgHv2QgHsugD/2Q=="
)

Coded = dict[UID, tuple[Dataset, bytes]]


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Coded:
    return in_syntaxes(LOSSLESS + LOSSY, tmp_path_factory.mktemp("coded"))


def _source(image: Dataset) -> NDArray[np.int64]:
    values = np.frombuffer(image.PixelData, "<u2" if image.BitsAllocated == 16 else "u1")
    return values.reshape(image.Rows, image.Columns).astype(np.int64)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda s: s.keyword)
def test_lossless(coded: Coded, syntax: UID) -> None:
    image, file = coded[syntax]
    read = pydicom.dcmread(io.BytesIO(file))
    assert read.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(stored_pixels(read), _source(image))
    plain = decode(part10(image), uid_of(image), PIXEL_LIMIT)
    assert decode(file, uid_of(image), PIXEL_LIMIT).pixel_sha256 == plain.pixel_sha256


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda s: s.keyword)
def test_lossy(coded: Coded, syntax: UID) -> None:
    image, file = coded[syntax]
    read = pydicom.dcmread(io.BytesIO(file))
    assert read.file_meta.TransferSyntaxUID == syntax
    decode(file, uid_of(image), PIXEL_LIMIT)
    error = np.abs(stored_pixels(read).astype(np.int64) - _source(image)) / ((1 << image.BitsStored) - 1)
    greatest, mean = TOLERANCE[syntax]
    assert 0 < error.max() <= greatest
    assert error.mean() <= mean


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K], ids=lambda s: s.keyword)
def test_htj2k(syntax: UID) -> None:
    source = np.fromfunction(lambda row, column: (row * 331 + column * 97) % 4096, (8, 16), dtype=int).astype(np.uint16)
    image = radiograph(source)
    image.PixelData = encapsulate([HTJ2K_CODESTREAM])
    image.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(decode(part10(image), uid_of(image), PIXEL_LIMIT).pixels, source)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS + LOSSY if s in CODESTREAMS], ids=lambda s: s.keyword)
def test_codestreams_say_their_size(coded: Coded, syntax: UID) -> None:
    image, file = coded[syntax]
    codestream = codestream_of(pydicom.dcmread(io.BytesIO(file)))
    precision = image.BitsAllocated if syntax in (JPEGLossless, JPEGLosslessSV1) else image.BitsStored  # as DCMTK codes
    assert coded_size(codestream) == CodedSize(image.Rows, image.Columns, 1, precision)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS + LOSSY if s in CODESTREAMS], ids=lambda s: s.keyword)
def test_a_codestream_without_its_end_is_invalid(coded: Coded, syntax: UID) -> None:
    """Inside whole DICOM: decoders fill up what is missing and say nothing."""
    image, file = coded[syntax]
    cut = pydicom.dcmread(io.BytesIO(file))
    codestream = codestream_of(cut)
    for length in (len(codestream) // 2, len(codestream) - 4, 30, 2):
        cut.PixelData = encapsulate([codestream[:length]])
        with pytest.raises(InvalidResource, match="coded pixels"):
            decode(part10(cut), uid_of(image), PIXEL_LIMIT)


@pytest.mark.parametrize("headers", [{"Rows": 159}, {"Rows": 161}, {"Columns": 96}, {"Rows": 320}])
@pytest.mark.parametrize("syntax", [s for s in LOSSLESS + LOSSY if s in CODESTREAMS], ids=lambda s: s.keyword)
def test_a_codestream_of_another_shape_is_invalid(coded: Coded, syntax: UID, headers: dict[str, int]) -> None:
    image, file = coded[syntax]
    other = pydicom.dcmread(io.BytesIO(file))
    for keyword, value in headers.items():
        setattr(other, keyword, value)
    with pytest.raises(InvalidResource, match="another shape"):
        decode(part10(other), uid_of(image), PIXEL_LIMIT)

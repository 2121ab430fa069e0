"""Bad files through the real decoding processes: each ends in a named error within its time limit, and the next is decoded."""

from __future__ import annotations

import contextlib
import io
import time
import zlib
from collections.abc import Iterator
from random import Random

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from connectors.decoding import ProcessDecoder
from connectors.decoding_worker import codestream_of
from schemas.errors import InvalidResource, RadstreamError, Unsuitable
from tests.contract.dicom_mutations import broken
from tests.contract.example_images import RAMP, part10, radiograph, uid_of
from tests.contract.transfer_syntaxes import LOSSLESS, LOSSY, in_syntaxes

TIME_LIMIT_S = 20.0
MEMORY_LIMIT = 2 * 1024**3
PIXEL_LIMIT = 64 * 1024**2  # the three as by default
GOOD = radiograph()

Coded = dict[UID, tuple[Dataset, bytes]]


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Coded:
    return in_syntaxes(LOSSLESS + LOSSY, tmp_path_factory.mktemp("coded"))


@pytest.fixture(scope="module")
def decoder() -> Iterator[ProcessDecoder]:
    decoder = ProcessDecoder(workers=1, timeout_s=TIME_LIMIT_S, memory_limit_bytes=MEMORY_LIMIT, pixel_limit=PIXEL_LIMIT)
    yield decoder
    decoder.close()


async def the_next_is_decoded(decoder: ProcessDecoder) -> None:
    np.testing.assert_array_equal((await decoder.decode(part10(GOOD), uid_of(GOOD))).pixels, RAMP)


async def refused(
    decoder: ProcessDecoder, file: bytes, image: Dataset, match: str, kind: type[RadstreamError] = InvalidResource
) -> None:
    begun = time.monotonic()
    with pytest.raises(kind, match=match) as caught:
        await decoder.decode(file, uid_of(image))
    assert time.monotonic() - begun < TIME_LIMIT_S
    assert "Example" not in str(caught.value)  # the patient's name
    await the_next_is_decoded(decoder)


@pytest.mark.parametrize("syntax", LOSSLESS + LOSSY, ids=lambda s: s.keyword)
async def test_cut_off_anywhere(decoder: ProcessDecoder, coded: Coded, syntax: UID) -> None:
    image, file = coded[syntax]
    random = Random(str(syntax))
    lengths = [0, 1, 131, 132, 140, *(random.randrange(len(file)) for _ in range(12)), len(file) - 10]
    for length in lengths:
        with pytest.raises(InvalidResource):
            await decoder.decode(file[:length], uid_of(image))
    await the_next_is_decoded(decoder)


async def _break(decoder: ProcessDecoder, coded: Coded, seeds: range) -> None:
    files = list(coded.values())
    decoded, said = 0, set()
    for seed in seeds:
        image, file = files[seed % len(files)]
        begun = time.monotonic()
        try:
            radiograph = await decoder.decode(broken(Random(seed), file), uid_of(image))
        except (InvalidResource, Unsuitable) as error:
            said.add(str(error))
        else:
            decoded += 1
            assert radiograph.pixels.ndim == 2 and np.isfinite(radiograph.pixels).all(), seed
        assert time.monotonic() - begun < 2 * TIME_LIMIT_S, seed
        if seed % 20 == 0:
            await the_next_is_decoded(decoder)
    await the_next_is_decoded(decoder)
    assert not any("Example" in text for text in said)  # the patient's name
    assert 0 < decoded < 0.6 * len(seeds)  # the breaks do break, and not all of them the headers


async def test_broken_files(decoder: ProcessDecoder, coded: Coded) -> None:
    await _break(decoder, coded, range(200))


@pytest.mark.long
async def test_many_broken_files(decoder: ProcessDecoder, coded: Coded) -> None:
    await _break(decoder, coded, range(1000, 3000))


@pytest.mark.parametrize("syntax", LOSSLESS + LOSSY, ids=lambda s: s.keyword)
async def test_65535_squared(decoder: ProcessDecoder, coded: Coded, syntax: UID) -> None:
    image, file = coded[syntax]
    huge = pydicom.dcmread(io.BytesIO(file))
    huge.Rows = huge.Columns = 65535
    await refused(decoder, part10(huge), image, "promise no pixel, or more than")


async def test_10000_frames(decoder: ProcessDecoder) -> None:
    image = radiograph(np.zeros((10_000, 6, 8), np.uint16), NumberOfFrames=10_000)
    await refused(decoder, part10(image), image, "not a single grayscale", Unsuitable)
    claimed = radiograph(Rows=2000, Columns=2000, NumberOfFrames=10_000)
    await refused(decoder, part10(claimed), claimed, "promise no pixel, or more than")


async def test_a_deflate_bomb(decoder: ProcessDecoder) -> None:
    await refused(decoder, _deflate_bomb(), GOOD, "needs more memory")


def _deflate_bomb() -> bytes:
    """A radiograph with 4 GiB of zeros behind it."""
    image = pydicom.dcmread(io.BytesIO(part10(GOOD)))
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file = io.BytesIO()
    pydicom.dcmwrite(file, image, enforce_file_format=True, little_endian=True, implicit_vr=False)
    whole = file.getvalue()
    start = 144 + int.from_bytes(whole[140:144], "little")
    coder = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"\xe3\x7f\x10\x00OB\0\0\xf0\xff\xff\xff"  # (7FE3,0010)
    first = coder.compress(zlib.decompress(whole[start:], -zlib.MAX_WBITS) + zeros) + coder.flush(zlib.Z_FULL_FLUSH)
    block = coder.compress(bytes(64 * 1024**2)) + coder.flush(zlib.Z_FULL_FLUSH)  # stands alone after a full flush
    return whole[:start] + first + 64 * block + coder.flush()


def _inflated_size(image: Dataset, side: int) -> bytes:
    """A JPEG 2000 codestream of one small tile that says it is side x side (ISO/IEC 15444-1 A.5.1)."""
    codestream = bytearray(codestream_of(image))
    for at in (8, 12, 24, 28):  # Xsiz, Ysiz, XTsiz, YTsiz
        codestream[at : at + 4] = side.to_bytes(4, "big")
    return bytes(codestream)


@pytest.mark.parametrize("side", [60_000, 2**31])
async def test_a_jpeg_2000_bomb(decoder: ProcessDecoder, coded: Coded, side: int) -> None:
    image, file = coded[JPEG2000Lossless]
    bomb = pydicom.dcmread(io.BytesIO(file))
    bomb.PixelData = encapsulate([_inflated_size(bomb, side)])
    await refused(decoder, part10(bomb), image, "another shape")


async def test_a_jpeg_2000_bomb_whose_headers_agree(decoder: ProcessDecoder, coded: Coded) -> None:
    """40 kB as the largest picture that the limit lets through: a picture or an error, within time and memory."""
    image, file = coded[JPEG2000Lossless]
    bomb = pydicom.dcmread(io.BytesIO(file))
    bomb.PixelData = encapsulate([_inflated_size(bomb, 8191)])
    bomb.Rows = bomb.Columns = 8191
    begun = time.monotonic()
    with contextlib.suppress(InvalidResource):
        assert (await decoder.decode(part10(bomb), uid_of(image))).pixels.shape == (8191, 8191)
    assert time.monotonic() - begun < TIME_LIMIT_S
    await the_next_is_decoded(decoder)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_RCT", "PALETTE COLOR", "MONOCHROME3", "", None])
@pytest.mark.parametrize(
    "syntax", [None, JPEGBaseline8Bit, JPEG2000Lossless], ids=["plain", "JPEGBaseline8Bit", "JPEG2000Lossless"]
)
async def test_wrong_photometric_interpretation(
    decoder: ProcessDecoder, coded: Coded, syntax: UID | None, photometric: str | None
) -> None:
    image, file = coded[syntax] if syntax else (GOOD, part10(GOOD))
    wrong = pydicom.dcmread(io.BytesIO(file))
    wrong.PhotometricInterpretation = photometric
    if photometric is None:
        del wrong.PhotometricInterpretation
    await refused(decoder, part10(wrong), image, "MONOCHROME1|cannot be read")


async def test_colour_said_to_be_grey(decoder: ProcessDecoder) -> None:
    """Three components in the codestream, one in the headers."""
    colour = radiograph(np.zeros((64, 80, 3), np.uint8), Rows=64, Columns=80, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    colour.PlanarConfiguration = 0
    await refused(decoder, part10(colour), colour, "not a single grayscale", Unsuitable)
    colour.compress(JPEG2000Lossless, generate_instance_uid=False)
    colour.SamplesPerPixel, colour.PhotometricInterpretation = 1, "MONOCHROME2"
    await refused(decoder, part10(colour), colour, "another shape")


async def test_missing_pixel_data(decoder: ProcessDecoder, coded: Coded) -> None:
    absent, empty = radiograph(PixelData=None), radiograph(PixelData=b"")
    await refused(decoder, part10(absent), absent, "no Pixel Data")
    await refused(decoder, part10(empty), empty, "cannot be read")
    for syntax in (JPEGBaseline8Bit, JPEG2000Lossless):
        image, file = coded[syntax]
        hollow = pydicom.dcmread(io.BytesIO(file))
        item = b"\xfe\xff\x00\xe0\0\0\0\0"
        for hollow.PixelData in (item, 2 * item):  # an empty offset table and no fragment, or an empty one
            await refused(decoder, part10(hollow), image, "coded pixels|cannot be read")


async def test_sequences_without_bottom(decoder: ProcessDecoder) -> None:
    image = radiograph()
    file = part10(image)
    item = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    await refused(decoder, file[: file.index(b"\xe0\x7f\x10\x00")] + 20_000 * item, image, "cannot be read|no Pixel Data")
    nested = radiograph(RequestAttributesSequence=Sequence([Dataset()]))
    np.testing.assert_array_equal((await decoder.decode(part10(nested), uid_of(nested))).pixels, RAMP)


async def test_what_is_no_dicom(decoder: ProcessDecoder) -> None:
    for file in (b"<html>Please log in</html>", b"\0" * 1_000_000, bytes(128) + b"DICM", Random(5).randbytes(100_000)):
        await refused(decoder, file, GOOD, None)

"""Pictures of real radiographs, and of small ones with every kind of VOI LUT, against DCMTK's rendering.

Within one grey level of 256, on every pixel: DCMTK cuts off what we round."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from connectors.decoding_rendering import render
from schemas.identifiers import SOPInstanceUID
from tests.contract.example_images import part10, radiograph
from tests.contract.test_decoding_golden import dcmtk, file, uncompressed  # noqa: F401 - the fixture `file`

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PIXEL_LIMIT = 64 * 1024**2
SCALE = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def _ours(made: Path) -> NDArray[np.int16]:
    uid = SOPInstanceUID(pydicom.dcmread(made, stop_before_pixels=True).SOPInstanceUID)
    return _greys(io.BytesIO(render(made.read_bytes(), uid, PIXEL_LIMIT).png))


def _dcmtks(made: Path, folder: Path, *how: str) -> NDArray[np.int16]:
    dcmtk("dcm2pnm", *how, "+on", made, folder / "rendered.png")
    return _greys(folder / "rendered.png")


def _greys(png: Path | io.BytesIO) -> NDArray[np.int16]:
    with Image.open(png) as picture:
        assert picture.mode == "L"
        return np.asarray(picture, np.int16)


def _differ(one: NDArray[np.int16], other: NDArray[np.int16]) -> int:
    assert one.shape == other.shape
    return int(np.abs(one - other).max())


def test_a_real_radiograph(file: Path, tmp_path: Path) -> None:  # noqa: F811
    window = "+Wi 1" if "WindowCenter" in pydicom.dcmread(file, stop_before_pixels=True) else "+Wm"
    theirs = _dcmtks(uncompressed(file, tmp_path), tmp_path, *window.split())
    assert _differ(_ours(file), theirs) <= 1
    assert theirs.max() - theirs.min() > 150  # a picture, not a wall


def _lut(*, entries: int, first: int, bits: int) -> Sequence:
    """Bends upwards."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries, first, bits])
    item.add_new("LUTData", "US", [int(n**2 / (entries - 1) ** 2 * ((1 << bits) - 1)) for n in range(entries)])
    return Sequence([item])


_WINDOW = {"WindowCenter": 1500, "WindowWidth": 2000}


@pytest.mark.parametrize(
    ("how", "headers"),
    [
        ("+Wi 1", _WINDOW),
        ("+Wi 1", {**_WINDOW, "PhotometricInterpretation": "MONOCHROME1"}),
        ("+Wi 1", {**_WINDOW, "PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}),
        ("+Wi 1", {**_WINDOW, "PresentationLUTShape": "IDENTITY"}),
        ("+Wi 1", {**_WINDOW, "PresentationLUTShape": "INVERSE"}),
        ("+Wi 1", {**_WINDOW, "PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"}),
        ("+Wi 1", {**_WINDOW, "VOILUTFunction": "LINEAR"}),
        ("+Wi 1", {**_WINDOW, "VOILUTFunction": "SIGMOID"}),
        ("+Wi 1", {"WindowCenter": [1000, 3000], "WindowWidth": [500, 100]}),
        ("+Wi 1", {"WindowCenter": 2000, "WindowWidth": 1}),
        ("+Wi 1", {"WindowCenter": 0, "WindowWidth": 800, "RescaleSlope": -0.5, "RescaleIntercept": 1000}),
        ("+Wm", {}),
        ("+Wm", {"PhotometricInterpretation": "MONOCHROME1"}),
        ("+Wl 1", {"VOILUTSequence": _lut(entries=4096, first=0, bits=16), **_WINDOW}),
        ("+Wl 1", {"VOILUTSequence": _lut(entries=4096, first=0, bits=12)}),
        ("+Wl 1", {"VOILUTSequence": _lut(entries=4096, first=0, bits=8)}),
        ("+Wl 1", {"VOILUTSequence": _lut(entries=1000, first=700, bits=10), "PhotometricInterpretation": "MONOCHROME1"}),
    ],
    ids=str,
)
def test_every_kind_of_voi_lut(how: str, headers: dict[str, Any], tmp_path: Path) -> None:
    made = tmp_path / "made.dcm"
    made.write_bytes(part10(radiograph(SCALE, **headers)))
    assert _differ(_ours(made), _dcmtks(made, tmp_path, *how.split())) <= 1


def test_signed_values(tmp_path: Path) -> None:
    made = tmp_path / "made.dcm"
    made.write_bytes(part10(radiograph(SCALE.astype(np.int16) - 2048, WindowCenter=-100, WindowWidth=1000)))
    assert _differ(_ours(made), _dcmtks(made, tmp_path, "+Wi", "1")) <= 1

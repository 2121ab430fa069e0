"""The gate before a model: what it stops is never seen by the model, and the reason says so."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from connectors.decoding_worker import decode
from models.chest_gate import load_gate
from models.gated import Gated
from models.registry import PACKAGES, load_model
from schemas.errors import Unsuitable
from schemas.findings import NotAnalysedReason
from schemas.identifiers import SOPInstanceUID
from schemas.ports import FindingModel, Radiograph

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@pytest.fixture(scope="module")
def model() -> Iterator[FindingModel]:
    inner = load_model(PACKAGES / "chest-nodule" / "1")
    gated = Gated(inner, load_gate(PACKAGES / "chest-gate" / "1"))
    yield gated
    gated.close()
    inner.close()


def radiograph(name: str) -> Radiograph:
    """Decoded as the engine does; its headers say CHEST PA, whatever it is."""
    path = get_testdata_file(name)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    read = decode(Path(path).read_bytes(), SOPInstanceUID(str(header.SOPInstanceUID)), 100_000_000)
    return Radiograph(read.sop_instance_uid, read.pixels, read.pixel_sha256, "DX", "CHEST", "PA")


async def test_a_chest_is_seen_by_the_model_and_named_by_it(model: FindingModel) -> None:
    seen = await model.predict(radiograph("RG1_UNCR.dcm"))
    assert seen.findings and model.identity.name == "chest-nodule" and 0 < model.threshold < 1


@pytest.mark.parametrize("name", ["RG3_UNCR.dcm", "RG3_J2KR.dcm"])
async def test_a_leg_whose_header_says_chest_is_refused(model: FindingModel, name: str) -> None:
    with pytest.raises(Unsuitable) as refused:
        await model.predict(radiograph(name))
    assert refused.value.code is NotAnalysedReason.WRONG_BODY_PART
    assert "pixels" in refused.value.reason


async def test_nothing_to_see_is_no_image(model: FindingModel) -> None:
    black = Radiograph(SOPInstanceUID("1.2.3"), np.zeros((600, 500), np.uint16), "0" * 64, "DX", "CHEST", "PA")
    with pytest.raises(Unsuitable) as refused:
        await model.predict(black)
    assert refused.value.code is NotAnalysedReason.NO_IMAGE

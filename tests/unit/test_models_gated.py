"""The gate before a model: what it stops is never seen by the model, and the reason says so."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from torch import Tensor, nn

from connectors.decoding_worker import decode
from models.chest_gate import ChestGate, load_gate
from models.gated import Gated
from models.image_model import ImageModel
from models.registry import PACKAGES, load
from schemas.errors import ModelFailed, RadstreamError, Unsuitable
from schemas.findings import NotAnalysedReason
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Prediction, Radiograph
from tests.contract.finding_model import radiograph as drawn

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@pytest.fixture(scope="module")
def model() -> Iterator[ImageModel]:
    gated = Gated(load(PACKAGES / "chest-nodule" / "1"), load_gate(PACKAGES / "chest-gate" / "1"))
    yield gated
    gated.close()


def radiograph(name: str) -> Radiograph:
    """Decoded as the engine does; its headers say CHEST PA, whatever it is."""
    path = get_testdata_file(name)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    read = decode(Path(path).read_bytes(), SOPInstanceUID(str(header.SOPInstanceUID)), 100_000_000)
    return Radiograph(read.sop_instance_uid, read.pixels, read.pixel_sha256, "DX", "CHEST", "PA")


def blank() -> Radiograph:
    return Radiograph(SOPInstanceUID("1.2.3"), np.zeros((600, 500), np.uint16), "0" * 64, "DX", "CHEST", "PA")


def test_what_is_no_chest_is_refused_and_the_others_are_seen_by_the_model(model: ImageModel) -> None:
    films = [radiograph("RG3_UNCR.dcm"), radiograph("RG1_UNCR.dcm"), blank(), radiograph("RG3_J2KR.dcm"), drawn()]
    leg, chest, nothing, other_leg, chest_too = model.predict_all(films)
    for refused in (leg, other_leg):
        assert isinstance(refused, Unsuitable) and refused.code is NotAnalysedReason.WRONG_BODY_PART and "pixels" in refused.reason
    assert isinstance(nothing, Unsuitable) and nothing.code is NotAnalysedReason.NO_IMAGE
    assert isinstance(chest, Prediction) and chest.findings
    assert chest.image.sop_instance_uid == films[1].sop_instance_uid
    assert isinstance(chest_too, Prediction) and chest_too.image.sop_instance_uid == "1.2.0"


def test_it_speaks_in_the_models_name(model: ImageModel) -> None:
    assert (model.identity.name, model.card.name, model.service) == ("chest-nodule", "chest-nodule", "chest-radiograph-findings")
    assert model.threshold is not None and 0 < model.threshold < 1


class Counting:
    """An `ImageModel` that keeps what it was asked."""

    def __init__(self, model: ImageModel) -> None:
        self.card, self.identity, self.service, self.threshold = model.card, model.identity, model.service, model.threshold
        self.asked: list[list[str]] = []
        self.closed = 0

    def predict_all(self, radiographs: Sequence[Radiograph]) -> list[Prediction | RadstreamError]:
        self.asked.append([one.sop_instance_uid for one in radiographs])
        return [ModelFailed("analyse", one.sop_instance_uid, "as asked") for one in radiographs]

    def close(self) -> None:
        self.closed += 1


def test_the_model_never_sees_what_the_gate_stops(model: ImageModel) -> None:
    counting = Counting(model)
    gated = Gated(counting, load_gate(PACKAGES / "chest-gate" / "1"))
    assert [type(one) for one in gated.predict_all([blank(), drawn()])] == [Unsuitable, ModelFailed]
    assert [type(one) for one in gated.predict_all([blank(), blank()])] == [Unsuitable, Unsuitable]
    assert counting.asked == [["1.2.0"]]
    gated.close()
    assert counting.closed == 1


def test_a_gate_that_fails_fails_that_image_alone(model: ImageModel) -> None:
    class Broken(nn.Module):
        def forward(self, canvas: Tensor) -> Tensor:
            raise RuntimeError("a secret of the pixels")

    (said,) = Gated(model, ChestGate(Broken(), 0.5)).predict_all([drawn()])
    assert isinstance(said, ModelFailed) and said.reason == "torch raised RuntimeError in the gate"

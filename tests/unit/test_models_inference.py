"""The port FindingModel: who is refused, and what is said of an image."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.inference import NoduleModel, believable_spacing
from models.registry import PACKAGES, load_model, read_card, self_test_image
from schemas.errors import ModelFailed, Unsuitable
from schemas.findings import FindingKind, NotAnalysedReason
from schemas.identifiers import SOPInstanceUID
from schemas.ports import FindingModel, Radiograph

COMMITTED = PACKAGES / "chest-nodule" / "1"
CHEST = Radiograph(
    sop_instance_uid=SOPInstanceUID("1.2.3"),
    pixels=self_test_image(),
    pixel_sha256="0" * 64,
    modality="CR",
    body_part_examined="CHEST",
    view_position="PA",
)


@pytest.fixture(scope="module")
def model() -> Iterator[NoduleModel]:
    loaded = load_model(COMMITTED)
    yield loaded
    loaded.close()


class Scripted(nn.Module):
    """A network whose heatmap is given."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, canvas: Tensor) -> Tensor:
        return self.logits[None, None]


def scripted(rows: slice, columns: slice, value: float = 20.0) -> NoduleModel:
    logits = torch.full((112, 112), -20.0)
    logits[rows, columns] = value
    return NoduleModel(Scripted(logits), read_card(COMMITTED))


async def test_it_is_the_port_and_repeats_itself(model: NoduleModel) -> None:
    port: FindingModel = model
    first, second = await port.predict(CHEST), await port.predict(CHEST)
    assert first == second
    assert first.image.pixel_sha256 == CHEST.pixel_sha256
    assert (first.image.rows, first.image.columns) == (600, 500)
    assert bool(first.findings) == (first.image.probability >= port.threshold)


async def test_sixteen_bit_pixels_give_the_same(model: NoduleModel) -> None:
    pixels = np.round(CHEST.pixels).astype(np.uint16)
    seen = await model.predict(dataclasses.replace(CHEST, pixels=pixels))
    assert seen.image.probability == pytest.approx((await model.predict(CHEST)).image.probability, abs=0.01)


@pytest.mark.parametrize(
    ("header", "code", "words"),
    [
        ({"modality": "CT"}, NotAnalysedReason.WRONG_MODALITY, "Modality is CT; the model reads CR, DX"),
        ({"modality": None}, NotAnalysedReason.WRONG_MODALITY, "Modality is not given"),
        ({"body_part_examined": "EXTREMITY"}, NotAnalysedReason.WRONG_BODY_PART, "Body Part Examined is EXTREMITY"),
        ({"body_part_examined": ""}, NotAnalysedReason.WRONG_BODY_PART, "Body Part Examined is not given"),
        ({"view_position": "LL"}, NotAnalysedReason.WRONG_VIEW, "View Position is LL; the model reads AP, PA"),
    ],
)
async def test_outside_the_intended_use(model: NoduleModel, header: dict[str, str], code: NotAnalysedReason, words: str) -> None:
    with pytest.raises(Unsuitable, match=words) as raised:
        await model.predict(dataclasses.replace(CHEST, **header))
    assert raised.value.code == code


@pytest.mark.parametrize("header", [{"view_position": None}, {"view_position": " ap "}, {"body_part_examined": "Chest "}])
async def test_inside_the_intended_use(model: NoduleModel, header: dict[str, str]) -> None:
    assert (await model.predict(dataclasses.replace(CHEST, **header))).image.rows == 600


def test_a_header_is_never_quoted_unless_it_is_a_known_term(model: NoduleModel) -> None:
    with pytest.raises(Unsuitable) as raised:
        model.check_suitable(dataclasses.replace(CHEST, view_position="MUELLER"))
    assert "MUELLER" not in str(raised.value)


async def test_a_blank_image_is_said_to_hold_nothing(model: NoduleModel) -> None:
    with pytest.raises(Unsuitable, match="no contrast") as raised:
        await model.predict(dataclasses.replace(CHEST, pixels=np.zeros((600, 500), np.uint16)))
    assert raised.value.code == NotAnalysedReason.NO_IMAGE


async def test_an_answer_that_is_not_a_number() -> None:
    with pytest.raises(ModelFailed, match="not a number"):
        await scripted(slice(0, 1), slice(50, 60), float("nan")).predict(CHEST)


async def test_a_network_that_raises() -> None:
    with pytest.raises(ModelFailed, match="torch raised RuntimeError"):
        await NoduleModel(nn.Conv2d(3, 1, 1), read_card(COMMITTED)).predict(CHEST)


async def test_size_and_kind_follow_the_pixel_spacing() -> None:
    # 10 x 6 cells of 4 canvas pixels, 600 / 448 image pixels each
    model = scripted(slice(30, 40), slice(50, 56))
    spaced = dataclasses.replace(CHEST, pixel_spacing_mm=(0.7, 0.7), pixel_spacing_plane="patient")
    (finding,) = (await model.predict(spaced)).findings
    assert finding.long_axis is not None
    assert finding.long_axis.value == pytest.approx(40 * 600 / 448 * 0.7, abs=0.1)
    assert finding.long_axis.plane == "patient"
    assert finding.kind == FindingKind.MASS
    assert (finding.ordinal, finding.region.top) == (1, pytest.approx(30 * 4 * 600 / 448))
    (smaller,) = (await model.predict(dataclasses.replace(spaced, pixel_spacing_mm=(0.4, 0.4)))).findings
    assert smaller.kind == FindingKind.NODULE


async def test_without_a_believable_spacing_no_size_is_claimed() -> None:
    (finding,) = (await scripted(slice(30, 40), slice(50, 60)).predict(CHEST)).findings
    assert finding.long_axis is None
    assert finding.kind == FindingKind.MASS  # 40 canvas pixels of 0.95 mm


@pytest.mark.parametrize("spacing", [None, (0.0, 0.0), (float("nan"), 0.5), (0.001, 0.001), (5.0, 5.0)])
def test_spacing_that_is_not_believed(spacing: tuple[float, float] | None) -> None:
    assert believable_spacing(dataclasses.replace(CHEST, pixel_spacing_mm=spacing)) is None

"""A network with its card: who is refused, and what is said of an image, alone or among others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.card import Card, read_card
from models.image_model import ImageModel
from models.inference import PackageModel, believable_spacing, check_suitable
from models.registry import PACKAGES, load, self_test_image
from schemas.errors import ModelFailed, ModelUnavailable, RadstreamError, Unsuitable
from schemas.findings import FindingKind, NotAnalysedReason
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Prediction, Radiograph
from tests.contract.finding_model import radiograph
from tests.contract.panel_package import panel_card

COMMITTED = PACKAGES / "chest-nodule" / "1"
CARD = read_card(COMMITTED)
CHEST = radiograph()


@pytest.fixture(scope="module")
def model() -> Iterator[PackageModel]:
    loaded = load(COMMITTED)
    yield loaded
    loaded.close()


class Scripted:
    """A network whose tensors are given, for each image by its place in the pass; it keeps how many it was asked about."""

    def __init__(self, answer: Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]) -> None:
        self.answer = answer
        self.asked: list[int] = []

    def __call__(self, canvases: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        self.asked.append(len(canvases))
        return self.answer(canvases)

    def close(self) -> None:
        """Holds nothing."""


def of(network: Any, card: Card = CARD) -> PackageModel:
    return PackageModel(card, card.identity("0" * 64), network)


def scripted(rows: slice, columns: slice, value: float = 20.0) -> PackageModel:
    logits = np.full((1, 1, 112, 112), -20.0, np.float32)
    logits[..., rows, columns] = value
    return of(Scripted(lambda canvases: {"heatmap": np.repeat(logits, len(canvases), 0)}))


def one(model: ImageModel, radiograph: Radiograph = CHEST) -> Prediction:
    (answer,) = model.predict_all([radiograph])
    assert isinstance(answer, Prediction), answer
    return answer


def wrong(model: ImageModel, radiograph: Radiograph = CHEST) -> RadstreamError:
    (answer,) = model.predict_all([radiograph])
    assert isinstance(answer, RadstreamError)
    return answer


# ------------------------------------------------------------------------------------------------------- who is refused


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
def test_outside_the_intended_use(model: PackageModel, header: dict[str, Any], code: NotAnalysedReason, words: str) -> None:
    said = wrong(model, dataclasses.replace(CHEST, **header))
    assert isinstance(said, Unsuitable) and said.code == code and words in said.reason


@pytest.mark.parametrize("header", [{"view_position": None}, {"view_position": " ap "}, {"body_part_examined": "Chest "}])
def test_inside_the_intended_use(model: PackageModel, header: dict[str, Any]) -> None:
    assert one(model, dataclasses.replace(CHEST, **header)).image.rows == 600


def test_a_header_is_never_quoted_unless_it_is_a_known_term() -> None:
    with pytest.raises(Unsuitable) as raised:
        check_suitable(CARD, dataclasses.replace(CHEST, view_position="MUELLER"))
    assert "MUELLER" not in str(raised.value)


@pytest.mark.parametrize("grey", [0, 7, 4095])
def test_a_blank_image_is_said_to_hold_nothing(model: PackageModel, grey: int) -> None:
    said = wrong(model, dataclasses.replace(CHEST, pixels=np.full((600, 500), grey, np.uint16)))
    assert isinstance(said, Unsuitable) and said.code == NotAnalysedReason.NO_IMAGE and "no contrast" in said.reason


def test_what_is_refused_is_never_seen() -> None:
    network = Scripted(lambda canvases: {})
    assert of(network).predict_all([dataclasses.replace(CHEST, modality="CT")] * 3)
    assert network.asked == []
    assert of(network).predict_all([]) == []


# ------------------------------------------------------------------------------------------------------------- together


@pytest.mark.parametrize("count", range(1, 9))
def test_alone_or_in_a_batch_the_same(model: PackageModel, count: int) -> None:
    films = [radiograph(number) for number in range(count)]
    for together, alone in zip(model.predict_all(films), [one(model, film) for film in films], strict=True):
        assert isinstance(together, Prediction) and together.image.probability is not None
        assert together.image.probability == pytest.approx(alone.image.probability, abs=1e-4)
        assert [f.region for f in together.findings] == [f.region for f in alone.findings]
        assert [f.probability for f in together.findings] == pytest.approx([f.probability for f in alone.findings], abs=1e-4)


def test_one_pass_for_all_that_are_suitable() -> None:
    network = Scripted(lambda canvases: {"heatmap": np.full((len(canvases), 1, 112, 112), -20, np.float32)})
    films = [radiograph(number) for number in range(5)]
    films[1] = dataclasses.replace(films[1], modality="MR")
    answers = of(network).predict_all(films)
    assert network.asked == [4]
    assert [isinstance(answer, Prediction) for answer in answers] == [True, False, True, True, True]
    assert [a.image.sop_instance_uid for a in answers if isinstance(a, Prediction)] == ["1.2.0", "1.2.2", "1.2.3", "1.2.4"]


def test_an_answer_that_is_not_a_number_is_that_images_alone() -> None:
    def answer(canvases: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        logits = np.full((len(canvases), 1, 112, 112), -20, np.float32)
        logits[1, 0, 5, 5] = np.nan
        return {"heatmap": logits}

    first, second, third = of(Scripted(answer)).predict_all([radiograph(number) for number in range(3)])
    assert isinstance(first, Prediction) and isinstance(third, Prediction)
    assert isinstance(second, ModelFailed) and "not a number" in second.reason and second.reference == "1.2.1"


def test_a_pass_that_fails_is_asked_image_by_image() -> None:
    def answer(canvases: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        if len(canvases) > 1 or abs(float(canvases[0].std()) - bad) < 1e-6:
            raise ModelFailed("analyse", "network", "torch raised RuntimeError")
        return {"heatmap": np.full((len(canvases), 1, 112, 112), -20, np.float32)}

    films = [radiograph(number) for number in range(3)]
    seen: list[float] = []
    of(Scripted(lambda c: seen.extend(float(one.std()) for one in c) or {})).predict_all(films)
    bad = seen[2]
    network = Scripted(answer)
    answers = of(network).predict_all(films)
    assert [isinstance(a, Prediction) for a in answers] == [True, True, False]
    assert isinstance(answers[2], ModelFailed) and answers[2].reference == "1.2.2"
    assert network.asked == [3, 1, 1, 1]


@pytest.mark.parametrize("error", [MemoryError(), ModelUnavailable("inference", "panel/1", "away")])
def test_what_concerns_all_of_them_is_raised(error: Exception) -> None:
    def answer(canvases: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        raise error

    with pytest.raises(type(error)):
        of(Scripted(answer)).predict_all([CHEST, CHEST])


@pytest.mark.parametrize(
    "tensors", [{}, {"heatmap": np.zeros((1, 1, 56, 56), np.float32)}, {"heatmap": np.zeros((1, 112, 112), np.float32)}]
)
def test_a_network_that_does_not_fit_the_card(tensors: dict[str, NDArray[np.float32]]) -> None:
    said = wrong(of(Scripted(lambda canvases: tensors)))
    assert isinstance(said, ModelFailed) and "the network's tensor heatmap" in said.reason


# ------------------------------------------------------------------------------------------------------- what was said


def test_it_repeats_itself(model: PackageModel) -> None:
    first, second = one(model), one(model)
    assert first == second
    assert (first.image.rows, first.image.columns, first.image.pixel_sha256) == (600, 500, CHEST.pixel_sha256)
    assert first.image.probability is not None and model.threshold is not None
    assert bool(first.findings) == (first.image.probability >= model.threshold)


def test_size_and_kind_follow_the_pixel_spacing() -> None:
    # 10 x 6 cells of 4 canvas pixels, 600 / 448 image pixels each
    model = scripted(slice(30, 40), slice(50, 56))
    spaced = dataclasses.replace(CHEST, pixel_spacing_mm=(0.7, 0.7), pixel_spacing_plane="patient")
    (finding,) = one(model, spaced).findings
    assert finding.long_axis is not None
    assert finding.long_axis.value == pytest.approx(40 * 600 / 448 * 0.7, abs=0.1)
    assert finding.long_axis.plane == "patient"
    assert finding.kind == FindingKind.MASS
    assert (finding.ordinal, finding.region.top) == (1, pytest.approx(30 * 4 * 600 / 448))
    (smaller,) = one(model, dataclasses.replace(spaced, pixel_spacing_mm=(0.4, 0.4))).findings
    assert smaller.kind == FindingKind.NODULE


def test_without_a_believable_spacing_no_size_is_claimed() -> None:
    (finding,) = one(scripted(slice(30, 40), slice(50, 60))).findings
    assert finding.long_axis is None
    assert finding.kind == FindingKind.MASS  # 40 canvas pixels of 0.95 mm


@pytest.mark.parametrize("spacing", [None, (0.0, 0.0), (float("nan"), 0.5), (0.001, 0.001), (5.0, 5.0)])
def test_spacing_that_is_not_believed(spacing: tuple[float, float] | None) -> None:
    assert believable_spacing(dataclasses.replace(CHEST, pixel_spacing_mm=spacing)) is None


def changed(**changes: Any) -> Card:
    return Card.model_validate(CARD.model_dump(mode="json") | changes)


def test_a_model_of_one_kind_finds_that_whatever_its_size() -> None:
    heatmap = CARD.model_dump(mode="json")["heatmap"]
    only = heatmap | {"kinds": ["nodule"], "codes": {"nodule": heatmap["codes"]["nodule"]}}
    (finding,) = one(of(scripted(slice(30, 60), slice(50, 80)).network, changed(heatmap=only))).findings
    assert finding.kind == FindingKind.NODULE


@pytest.mark.parametrize("film", [-3.0, 0.0, 3.0])
def test_a_film_logit_counts_for_the_film_and_for_its_regions(film: float) -> None:
    heatmap = CARD.model_dump(mode="json")["heatmap"] | {"film": {"tensor": "film", "column": 1, "slope": 0.5}}
    card = changed(heatmap=heatmap, self_test=CARD.model_dump(mode="json")["self_test"] | {"columns": {"film": [0.0, 0.0]}})
    logits = np.full((1, 1, 112, 112), -30, np.float32)
    logits[0, 0, 50, 50] = 12.0
    said = one(of(Scripted(lambda canvases: {"heatmap": logits, "film": np.array([[9.0, film]], np.float32)}), card))
    wanted = 1 / (1 + math.exp(-(heatmap["slope"] * 12.0 + 0.5 * film + heatmap["offset"])))
    assert said.image.probability == pytest.approx(wanted, abs=1e-6)
    assert [finding.probability for finding in said.findings] == pytest.approx([wanted] if wanted >= heatmap["threshold"] else [])


def output(name: str, column: int, activation: str, **more: object) -> dict[str, object]:
    coding = {"system": "urn:hospital:codes", "code": name, "display": name}
    return {"name": name, "tensor": "numbers", "column": column, "activation": activation, "coding": coding} | more


def test_outputs_as_the_card_reads_them() -> None:
    said = CARD.model_dump(mode="json")
    outputs = [
        output("tube", 0, "sigmoid", threshold=0.5),
        output("surely", 1, "sigmoid"),
        output("one-of-three", 2, "softmax", threshold=0.9),
        output("width", 2, "none", unit="mm", threshold=3.5),
    ]
    card = Card.model_validate(
        said | {"heatmap": None, "outputs": outputs, "self_test": {"tolerance": 0.01, "columns": {"numbers": [0.0, 0.0, 0.0]}}}
    )
    model = of(Scripted(lambda canvases: {"numbers": np.array([[-1.0, 800.0, 3.5]], np.float32)}), card)
    answer = one(model)
    assert answer.image.probability is None and answer.findings == () and model.threshold is None
    tube, surely, share, width = answer.image.outputs
    assert tube.value == pytest.approx(1 / (1 + math.e)) and tube.present is False
    assert surely.value == 1.0 and surely.present is None
    assert share.value == pytest.approx(0.0) and share.unit == "1"
    assert (width.value, width.unit, width.present) == (3.5, "mm", True)


def test_the_panels_card_reads_four_devices() -> None:
    card = Card.model_validate(panel_card())
    assert [reading.name for reading in card.outputs] == [
        "central-venous-catheter",
        "endotracheal-tube",
        "nasogastric-tube",
        "pacemaker",
    ]


def test_the_self_tests_film_is_the_same_for_all() -> None:
    assert np.array_equal(CHEST.pixels, self_test_image()) and CHEST.sop_instance_uid == SOPInstanceUID("1.2.0")

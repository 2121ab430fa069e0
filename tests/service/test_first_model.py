"""The committed detector on real films: unseen patients, unseen nodules, and the demo's radiograph."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom.data import get_testdata_file

from models.card import read_card
from models.card_origin import Performance
from models.registry import PACKAGES
from models.training.evaluate import read_package
from models.training.figures import of_inserted, of_real_films
from models.training.films import adult_films
from models.training.pairs import CONTRASTS
from models.training.performance import of_figures
from models.training.readings import Edges, Reader, Rule, read

PACKAGE = PACKAGES / "chest-nodule" / "2"
PLAIN = "at least 0.16"
#: of the plain ones, what must be located at half a false box a normal film
LOCATED = 0.6


@pytest.fixture(scope="module")
def reader(shared_data: Path) -> Reader:
    torch.set_num_threads(1)
    return Reader(read_package(PACKAGE)[0], shared_data)


@pytest.fixture(scope="module")
def rule() -> Rule:
    return read_package(PACKAGE)[1]


@pytest.fixture(scope="module")
def card() -> tuple[Performance, ...]:
    return read_card(PACKAGE).performance


def said(several: tuple[Performance, ...], measure: str, data: str = "", group: str = "all") -> float:
    (value,) = [p.value for p in several if p.measure == measure and data in p.data and p.group == group]
    return value


def test_no_patient_of_the_test_split_was_trained_on(shared_data: Path) -> None:
    trained = {r.patient for split in ("train", "validation") for r in adult_films(shared_data, split)}
    held_out = {r.patient for r in adult_films(shared_data, "test")}
    assert len(held_out) > 100
    assert not trained & held_out


@pytest.mark.timeout(300)
def test_nodules_that_are_plain_to_see_are_found_and_normal_films_left_alone(
    reader: Reader, rule: Rule, card: tuple[Performance, ...]
) -> None:
    # another seed than the card's: other nodules in other places of the same unseen films
    found = of_inserted(reader.pairs("test", 1, 7, CONTRASTS[PLAIN]), rule)
    assert found["pairs"] >= 100
    half = "sensitivity of localisation at 0.5 false boxes a normal film"
    assert found["at_half_a_false_box"]["value"] >= LOCATED
    # what the card says is what anybody finds
    assert found["at_half_a_false_box"]["value"] == pytest.approx(said(card, half, PLAIN), abs=0.12)
    assert found["boxes_a_normal_film"] == pytest.approx(said(card, "boxes a film at the threshold"), abs=0.002)


@pytest.mark.timeout(300)
def test_the_cards_figures_of_real_films_are_true(reader: Reader, rule: Rule, card: tuple[Performance, ...]) -> None:
    """As they were taken, and squeezed to a square as they are published: what `radstream model score` is given."""
    real, squeezed = (of_real_films(reader.films("test", squeezed=way), rule) for way in (False, True))
    known = {(one.measure, one.group, one.data): one.value for one in card}
    found = of_figures({"real": real, "real_squeezed": squeezed, "inserted": {}, "inserted_by": {}})
    assert len([one for one in found if "squeezed" in one.data]) >= 5
    for figure in found:
        assert known[figure.measure, figure.group, figure.data] == pytest.approx(figure.value, abs=0.02)


#: masses of RG1_UNCR, outlined by hand on the film: left, top, right, bottom in image pixels
RG1_MASSES = (
    (1345, 1085, 1580, 1270),
    (1385, 765, 1550, 955),
    (1275, 600, 1440, 800),
    (370, 1070, 640, 1240),
    (170, 1240, 355, 1450),
)
#: lungs and mediastinum of RG1_UNCR: from rib to rib, from apex to diaphragm
RG1_CHEST = (170, 180, 1700, 1500)


@pytest.fixture(scope="module")
def drawn(reader: Reader, rule: Rule) -> list[Edges]:
    """On RG1_UNCR."""
    path = get_testdata_file("RG1_UNCR.dcm", download=False)
    assert path, "pydicom-data is a development dependency"
    dataset = pydicom.dcmread(path)
    pixels = 2**dataset.BitsStored - 1 - dataset.pixel_array.astype(np.float32)  # MONOCHROME1
    return rule.drawn(read(reader.network, pixels))


def test_the_demos_radiograph_gets_boxes_on_its_masses(drawn: list[Edges]) -> None:
    def on(box: Edges, mass: tuple[int, int, int, int]) -> bool:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        # a box round everything would prove nothing
        return mass[0] <= x <= mass[2] and mass[1] <= y <= mass[3] and box[2] - box[0] < 400 and box[3] - box[1] < 400

    assert sum(any(on(box, mass) for box in drawn) for mass in RG1_MASSES) >= 2


def test_no_box_lies_outside_lungs_and_mediastinum(drawn: list[Edges]) -> None:
    left, top, right, bottom = RG1_CHEST
    assert drawn
    assert all(left <= box[0] and top <= box[1] and box[2] <= right and box[3] <= bottom for box in drawn)

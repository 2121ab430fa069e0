"""The committed model on real films: unseen patients, unseen nodules, and the demo's radiograph."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from models.inference import NoduleModel
from models.registry import PACKAGES, load_model
from models.training.evaluate import Reader, measure
from models.training.films import film_records, normal_films
from models.training.pairs import ENHANCEMENT
from schemas.findings import FindingKind
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Radiograph

#: issue 3: share of pairs that must be in the right order, and how many pairs
SHARE, PAIRS = 0.75, 300


@pytest.fixture(scope="module")
def model() -> NoduleModel:
    return load_model(PACKAGES / "chest-nodule" / "1")


def test_no_patient_of_the_test_split_was_trained_on(shared_data: Path) -> None:
    trained = {r.patient for split in ("train", "validation") for r in normal_films(shared_data, split)}
    held_out = {r.patient for r in film_records(shared_data) if r.split == "test"}
    assert len(held_out) > 100
    assert not trained & held_out


@pytest.mark.timeout(300)
def test_a_film_scores_higher_with_a_nodule_than_without(model: NoduleModel, shared_data: Path) -> None:
    # another seed than the card's: other nodules in other places of the same unseen films
    readings = Reader(model.network, shared_data).readings("test", 3, seed=7, enhancement=ENHANCEMENT)
    measures = measure(readings, model.point, seed=7)
    card = {(row.measure, row.group): row.value for row in model.card.performance}
    assert measures.pairs >= PAIRS
    assert measures.share_higher >= SHARE
    # no mere trace of more density: the nodule outdoes the film's false alarms, and is where the box is
    assert measures.share_highest_cell_higher >= 0.5
    assert measures.area_under_curve >= 0.55
    assert measures.sensitivity_of_localisation >= 3 * (1 - measures.specificity) / 2
    # what the card says is what anybody finds
    assert measures.share_higher == pytest.approx(
        card["share of pairs in which the film with the nodule scores higher", "all"], abs=0.08
    )
    assert measures.area_under_curve == pytest.approx(card["area under the curve", "all"], abs=0.08)
    assert measures.sensitivity_of_localisation == pytest.approx(card["sensitivity of localisation", "all"], abs=0.1)


#: masses of RG1_UNCR, outlined by hand on the film: left, top, right, bottom in image pixels
RG1_MASSES = (
    (1345, 1085, 1580, 1270),
    (1385, 765, 1550, 955),
    (1275, 600, 1440, 800),
    (370, 1070, 640, 1240),
    (170, 1240, 355, 1450),
)


async def test_the_demos_radiograph_gets_a_box_on_a_real_mass(model: NoduleModel) -> None:
    path = get_testdata_file("RG1_UNCR.dcm", download=False)
    assert path, "pydicom-data is a development dependency"
    dataset = pydicom.dcmread(path)
    stored = dataset.pixel_array
    radiograph = Radiograph(
        sop_instance_uid=SOPInstanceUID(dataset.SOPInstanceUID),
        pixels=(2**dataset.BitsStored - 1 - stored.astype(np.float32)),  # MONOCHROME1
        pixel_sha256="0" * 64,
        modality=dataset.Modality,
        body_part_examined=dataset.BodyPartExamined,
        view_position=dataset.ViewPosition,
        pixel_spacing_mm=(0.0, 0.0),
    )
    prediction = await model.predict(radiograph)
    assert prediction.image.probability >= model.threshold
    centres = [
        (f.region.left + f.region.width / 2, f.region.top + f.region.height / 2, f.region.width) for f in prediction.findings
    ]
    on_a_mass = [c for c in centres for m in RG1_MASSES if m[0] <= c[0] <= m[2] and m[1] <= c[1] <= m[3]]
    assert on_a_mass
    # a box round everything would prove nothing
    assert all(width < 500 for _, _, width in on_a_mass)
    assert any(f.kind == FindingKind.MASS for f in prediction.findings)

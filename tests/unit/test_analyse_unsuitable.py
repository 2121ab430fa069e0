"""What is not analysed, and why: not the model's use by its headers, by the file itself, or by the model's own word."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from schemas.errors import Unsuitable
from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import SOPInstanceUID, StudyInstanceUID
from schemas.ports import Radiograph
from streams.steps.analyse import analyse
from streams.steps.choosing import IntendedUse
from streams.turns import Turns
from tests.contract.example_images import radiograph, study_of, uid_of
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.test_image_decoders import InProcessDecoder
from tests.unit.analyses import ID, KeptInMemory, ScriptedModel, record_of, request_for, run, stored, using


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Modality": "CT"}, NotAnalysedReason.WRONG_MODALITY),
        ({"BodyPartExamined": "EXTREMITY"}, NotAnalysedReason.WRONG_BODY_PART),
        ({"ViewPosition": "LL"}, NotAnalysedReason.WRONG_VIEW),
    ],
)
async def test_an_unsuitable_study_is_not_analysed_and_not_fetched(headers: dict[str, str], reason: NotAnalysedReason) -> None:
    _, request = await stored(radiograph(**headers))
    model = ScriptedModel()
    findings, out = await run(FakeStudyArchive(), request, model)  # an empty archive: a fetch would fail
    assert findings.not_analysed is not None
    assert findings.not_analysed.reason is reason
    assert (findings.analysis_id, findings.subject, findings.model) == (ID, request.subject, None)
    assert out.topic == "ai.results"
    assert model.seen == []


async def test_a_childs_study_is_not_analysed_where_the_model_is_for_adults() -> None:
    archive, request = await stored(radiograph())
    (out,) = await analyse(
        record_of(request.model_copy(update={"patient_age_years": 4})),
        archive=archive,
        decoder=InProcessDecoder(),
        models=using(ScriptedModel(), IntendedUse(minimum_age_years=18)),
        kept=KeptInMemory(),
        decoding=Turns(),
        predicting=Turns(),
    )
    findings = Findings.model_validate_json(out.value)
    assert findings.not_analysed is not None
    assert findings.not_analysed.reason is NotAnalysedReason.WRONG_AGE


async def test_a_body_part_that_only_a_text_tells_reaches_the_model_as_its_term() -> None:
    model = ScriptedModel()
    archive, request = await stored(radiograph(BodyPartExamined=None, ViewPosition=None, SeriesDescription="Thorax p.a."))
    findings, _ = await run(archive, request, model)
    assert findings.not_analysed is None
    assert [(seen.body_part_examined, seen.view_position) for seen in model.seen] == [("CHEST", None)]


async def test_the_file_is_not_believed_when_its_own_text_says_lateral() -> None:
    archive, request = await stored(radiograph(SeriesDescription="Chest lat."))
    silent = tuple(image.model_copy(update={"series_description": None}) for image in request.images)
    findings, _ = await run(archive, request.model_copy(update={"images": silent}))
    assert findings.not_analysed is not None
    assert findings.not_analysed.reason is NotAnalysedReason.WRONG_VIEW


async def test_a_study_without_images_is_not_analysed() -> None:
    findings, _ = await run(FakeStudyArchive(), request_for(StudyInstanceUID("1.2.3"), ()))
    assert findings.not_analysed is not None
    assert findings.not_analysed.reason is NotAnalysedReason.NO_IMAGE


async def test_the_header_inside_the_file_counts_too() -> None:
    image = radiograph(BodyPartExamined="HAND")
    archive, request = await stored(image)
    lying = request.images[0].model_copy(update={"body_part_examined": "CHEST"})
    model = ScriptedModel()
    findings, _ = await run(archive, request_for(study_of(image), [lying]), model)
    assert findings.not_analysed is not None
    assert findings.not_analysed.reason is NotAnalysedReason.WRONG_BODY_PART
    assert model.seen == []


async def test_what_the_model_refuses_is_not_analysed() -> None:
    archive, request = await stored(radiograph())
    model = ScriptedModel(lambda _: Unsuitable("predict", "image", "Too small.", NotAnalysedReason.WRONG_VIEW))
    findings, _ = await run(archive, request, model)
    assert findings.not_analysed is not None
    assert (findings.not_analysed.reason, findings.not_analysed.explanation) == (NotAnalysedReason.WRONG_VIEW, "Too small.")


async def test_one_refused_image_leaves_the_other_analysed() -> None:
    first = radiograph()
    second = radiograph(StudyInstanceUID=first.StudyInstanceUID)
    archive, request = await stored(first, second)

    def refuse_first(seen: Radiograph) -> Exception | None:
        other = seen.sop_instance_uid != uid_of(first)
        return None if other else Unsuitable("predict", "image", "why", NotAnalysedReason.WRONG_VIEW)

    findings, _ = await run(archive, request, ScriptedModel(refuse_first))
    assert [image.sop_instance_uid for image in findings.images] == [uid_of(second)]
    assert [finding.ordinal for finding in findings.findings] == [1, 2]


def _copy_of(name: str) -> bytes:
    """As the demo copies them: accession number, patient and UIDs are new, the body part is not."""
    found = get_testdata_file(name, read=False)
    assert isinstance(found, str)
    image = pydicom.dcmread(io.BytesIO(Path(found).read_bytes()))
    image.AccessionNumber, image.PatientID = "DEMO1", "DEMO"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = generate_uid(), generate_uid(), generate_uid()
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    file = io.BytesIO()
    image.save_as(file)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_the_demos_chest_is_analysed_and_its_extremity_is_not() -> None:
    for name, reason in (("RG1_UNCR.dcm", None), ("RG3_UNCR.dcm", NotAnalysedReason.WRONG_BODY_PART)):
        file = _copy_of(name)
        header = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)
        archive = FakeStudyArchive()
        await archive.store([file])
        study = StudyInstanceUID(header.StudyInstanceUID)
        findings, _ = await run(archive, request_for(study, (await archive.describe(study)).images))
        assert (findings.not_analysed.reason if findings.not_analysed else None) is reason
        if reason is None:
            assert findings.images[0].sop_instance_uid == SOPInstanceUID(header.SOPInstanceUID)
            assert (findings.images[0].rows, findings.images[0].columns) == (1955, 1841)

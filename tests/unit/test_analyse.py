"""The step `analyse` on an archive in memory, with the real decoder function and a scripted model."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from schemas.errors import ArchiveUnavailable, InvalidResource, MalformedMessage, ModelFailed, StudyIncomplete, Unsuitable
from schemas.events import FINDINGS_TYPE
from schemas.findings import AnalysedImage, Finding, FindingKind, Findings, ModelIdentity, NotAnalysedReason, Region, Subject
from schemas.identifiers import AccessionNumber, SOPInstanceUID, StudyInstanceUID
from schemas.ports import Outgoing, Place, Prediction, Radiograph, Record
from schemas.study_events import AnalysisRequested, ImageReference, revision_of
from streams.steps.analyse import analyse
from streams.steps.choosing import IntendedUse
from streams.turns import Turns
from tests.contract.example_images import part10, radiograph, study_of, uid_of
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.test_image_decoders import InProcessDecoder

TRIGGERED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = UUID("00000000-0000-5000-8000-000000000001")


class ScriptedModel:
    """Two findings on each image, or the given error."""

    identity = ModelIdentity(name="scripted", version="1", weights_sha256="0" * 64)
    threshold = 0.5

    def __init__(self, error: Callable[[Radiograph], Exception | None] = lambda radiograph: None) -> None:
        self._error = error
        self.seen: list[Radiograph] = []

    async def predict(self, radiograph: Radiograph) -> Prediction:
        self.seen.append(radiograph)
        error = self._error(radiograph)
        if error is not None:
            raise error
        rows, columns = radiograph.pixels.shape
        uid = radiograph.sop_instance_uid
        found = tuple(
            Finding(
                ordinal=n,
                kind=FindingKind.NODULE,
                probability=0.9 / n,
                region=Region(sop_instance_uid=uid, left=n, top=n, width=1, height=1),
            )
            for n in (1, 2)
        )
        return Prediction(
            AnalysedImage(sop_instance_uid=uid, pixel_sha256=radiograph.pixel_sha256, rows=rows, columns=columns, probability=0.9),
            found,
        )


def _record(request: AnalysisRequested) -> Record:
    value = request.model_dump_json().encode()
    return Record(Place("ai.requests", 1, 7), b"k", value, (), datetime(2026, 2, 2, tzinfo=UTC))


def _request(study: StudyInstanceUID, images: Sequence[ImageReference]) -> AnalysisRequested:
    return AnalysisRequested(
        id=ID,
        time=TRIGGERED,
        subject=Subject(
            study_instance_uid=study,
            revision=revision_of(images),
            sequence=3,
            accession_number=AccessionNumber(value="A1", assigner="SITE"),
            triggered_at=TRIGGERED,
        ),
        images=tuple(images),
    )


async def _run(
    archive: FakeStudyArchive, request: AnalysisRequested, model: ScriptedModel | None = None
) -> tuple[Findings, Outgoing]:
    (out,) = await analyse(
        _record(request),
        archive=archive,
        decoder=InProcessDecoder(),
        model=model or ScriptedModel(),
        intended_use=IntendedUse(),
        decoding=Turns(),
        predicting=Turns(),
    )
    return Findings.model_validate_json(out.value), out


async def _stored(*images: Dataset) -> tuple[FakeStudyArchive, AnalysisRequested]:
    archive = FakeStudyArchive()
    await archive.store([part10(image) for image in images])
    study = study_of(images[0])
    return archive, _request(study, (await archive.describe(study)).images)


async def test_a_chest_radiograph_is_analysed() -> None:
    image = radiograph()
    archive, request = await _stored(image)
    findings, out = await _run(archive, request)
    assert findings.analysis_id == ID
    assert findings.subject == request.subject
    assert findings.model == ScriptedModel.identity
    assert findings.threshold == 0.5
    assert [analysed.sop_instance_uid for analysed in findings.images] == [uid_of(image)]
    assert findings.not_analysed is None
    headers = dict(out.headers)
    assert (out.topic, out.key) == ("ai.results", study_of(image).encode())
    assert headers["ce_id"] == str(ID).encode()
    assert headers["ce_type"] == FINDINGS_TYPE.encode()
    assert headers["ce_time"] == b"2026-01-02T03:04:05Z"
    assert headers["cause"] == b"ai.requests/1/7"


async def test_the_same_request_gives_the_same_bytes() -> None:
    archive, request = await _stored(radiograph())
    assert await _run(archive, request) == await _run(archive, request)


async def test_findings_are_numbered_over_all_images() -> None:
    first = radiograph()
    more = [radiograph(StudyInstanceUID=first.StudyInstanceUID) for _ in range(3)]
    archive, request = await _stored(first, *more)
    findings, _ = await _run(archive, request)
    assert [finding.ordinal for finding in findings.findings] == list(range(1, 9))
    order = [image.sop_instance_uid for image in request.images]
    assert [image.sop_instance_uid for image in findings.images] == order
    assert [finding.region.sop_instance_uid for finding in findings.findings] == [uid for uid in order for _ in (1, 2)]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Modality": "CT"}, NotAnalysedReason.WRONG_MODALITY),
        ({"BodyPartExamined": "EXTREMITY"}, NotAnalysedReason.WRONG_BODY_PART),
        ({"ViewPosition": "LL"}, NotAnalysedReason.WRONG_VIEW),
    ],
)
async def test_an_unsuitable_study_is_not_analysed_and_not_fetched(headers: dict[str, str], reason: NotAnalysedReason) -> None:
    _, request = await _stored(radiograph(**headers))
    model = ScriptedModel()
    findings, out = await _run(FakeStudyArchive(), request, model)  # an empty archive: a fetch would fail
    assert findings.not_analysed is not None
    assert findings.not_analysed.reason is reason
    assert (findings.analysis_id, findings.subject, findings.model) == (ID, request.subject, None)
    assert out.topic == "ai.results"
    assert model.seen == []


async def test_a_childs_study_is_not_analysed_where_the_model_is_for_adults() -> None:
    archive, request = await _stored(radiograph())
    (out,) = await analyse(
        _record(request.model_copy(update={"patient_age_years": 4})),
        archive=archive,
        decoder=InProcessDecoder(),
        model=ScriptedModel(),
        intended_use=IntendedUse(minimum_age_years=18),
        decoding=Turns(),
        predicting=Turns(),
    )
    findings = Findings.model_validate_json(out.value)
    assert findings.not_analysed is not None
    assert findings.not_analysed.reason is NotAnalysedReason.WRONG_AGE


async def test_a_body_part_that_only_a_text_tells_reaches_the_model_as_its_term() -> None:
    model = ScriptedModel()
    archive, request = await _stored(radiograph(BodyPartExamined=None, ViewPosition=None, SeriesDescription="Thorax p.a."))
    findings, _ = await _run(archive, request, model)
    assert findings.not_analysed is None
    assert [(seen.body_part_examined, seen.view_position) for seen in model.seen] == [("CHEST", None)]


async def test_the_file_is_not_believed_when_its_own_text_says_lateral() -> None:
    archive, request = await _stored(radiograph(SeriesDescription="Chest lat."))
    silent = tuple(image.model_copy(update={"series_description": None}) for image in request.images)
    findings, _ = await _run(archive, request.model_copy(update={"images": silent}))
    assert findings.not_analysed is not None
    assert findings.not_analysed.reason is NotAnalysedReason.WRONG_VIEW


async def test_a_study_without_images_is_not_analysed() -> None:
    findings, _ = await _run(FakeStudyArchive(), _request(StudyInstanceUID("1.2.3"), ()))
    assert findings.not_analysed is not None
    assert findings.not_analysed.reason is NotAnalysedReason.NO_IMAGE


async def test_the_header_inside_the_file_counts_too() -> None:
    image = radiograph(BodyPartExamined="HAND")
    archive, request = await _stored(image)
    lying = request.images[0].model_copy(update={"body_part_examined": "CHEST"})
    model = ScriptedModel()
    findings, _ = await _run(archive, _request(study_of(image), [lying]), model)
    assert findings.not_analysed is not None
    assert findings.not_analysed.reason is NotAnalysedReason.WRONG_BODY_PART
    assert model.seen == []


async def test_what_the_model_refuses_is_not_analysed() -> None:
    archive, request = await _stored(radiograph())
    model = ScriptedModel(lambda _: Unsuitable("predict", "image", "Too small.", NotAnalysedReason.WRONG_VIEW))
    findings, _ = await _run(archive, request, model)
    assert findings.not_analysed is not None
    assert (findings.not_analysed.reason, findings.not_analysed.explanation) == (NotAnalysedReason.WRONG_VIEW, "Too small.")


async def test_one_refused_image_leaves_the_other_analysed() -> None:
    first = radiograph()
    second = radiograph(StudyInstanceUID=first.StudyInstanceUID)
    archive, request = await _stored(first, second)

    def refuse_first(seen: Radiograph) -> Exception | None:
        other = seen.sop_instance_uid != uid_of(first)
        return None if other else Unsuitable("predict", "image", "why", NotAnalysedReason.WRONG_VIEW)

    findings, _ = await _run(archive, request, ScriptedModel(refuse_first))
    assert [image.sop_instance_uid for image in findings.images] == [uid_of(second)]
    assert [finding.ordinal for finding in findings.findings] == [1, 2]


async def test_one_broken_image_fails_the_study() -> None:
    """Findings of the other alone would read as "nothing else"."""
    first = radiograph()
    broken = radiograph(StudyInstanceUID=first.StudyInstanceUID, Rows=60_000)
    archive, request = await _stored(first, broken)
    with pytest.raises(InvalidResource):
        await _run(archive, request)


async def test_a_missing_image_is_incomplete() -> None:
    _, request = await _stored(radiograph())
    with pytest.raises(StudyIncomplete):
        await _run(FakeStudyArchive(), request)


@pytest.mark.parametrize("error", [ModelFailed("predict", "image", "why"), ArchiveUnavailable("fetch", "image", "why")])
async def test_other_errors_are_for_the_guard(error: Exception) -> None:
    archive, request = await _stored(radiograph())
    with pytest.raises(type(error)):
        await _run(archive, request, ScriptedModel(lambda _: error))


async def test_garbage_is_malformed() -> None:
    record = Record(Place("ai.requests", 0, 0), None, b'{"patient": "Secret"}', (), TRIGGERED)
    with pytest.raises(MalformedMessage) as caught:
        await analyse(
            record,
            archive=FakeStudyArchive(),
            decoder=InProcessDecoder(),
            model=ScriptedModel(),
            intended_use=IntendedUse(),
            decoding=Turns(),
            predicting=Turns(),
        )
    assert "Secret" not in str(caught.value)


async def test_images_of_one_study_are_fetched_concurrently_but_bounded() -> None:
    first = radiograph()
    archive, request = await _stored(first, *(radiograph(StudyInstanceUID=first.StudyInstanceUID) for _ in range(5)))
    under_way, most = 0, 0

    class Counting(FakeStudyArchive):
        async def instance(self, study: StudyInstanceUID, image: ImageReference) -> bytes:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            return await archive.instance(study, image)

    await _run(Counting(), request)
    assert most == 2


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
        findings, _ = await _run(archive, _request(study, (await archive.describe(study)).images))
        assert (findings.not_analysed.reason if findings.not_analysed else None) is reason
        if reason is None:
            assert findings.images[0].sop_instance_uid == SOPInstanceUID(header.SOPInstanceUID)
            assert (findings.images[0].rows, findings.images[0].columns) == (1955, 1841)

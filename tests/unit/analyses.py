"""A request, a scripted model, and the step `analyse` with both on an archive in memory and the real decoder function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from pydicom.dataset import Dataset

from schemas.findings import (
    CHEST_RADIOGRAPH_FINDINGS,
    AnalysedImage,
    Finding,
    FindingKind,
    Findings,
    ModelIdentity,
    Region,
    Subject,
)
from schemas.identifiers import AccessionNumber, StudyInstanceUID
from schemas.ports import FindingModel, Outgoing, Place, Prediction, Radiograph, Record
from schemas.study_events import AnalysisRequested, ImageReference, revision_of
from streams.promotion.models_in_use import InUse, ModelsInUse
from streams.steps.analyse import analyse
from streams.steps.choosing import IntendedUse
from streams.turns import Turns
from tests.contract.example_images import part10, study_of
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.test_image_decoders import InProcessDecoder

TRIGGERED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = UUID("00000000-0000-5000-8000-000000000001")


class ScriptedModel:
    """Two findings on each image, or the given error."""

    identity = ModelIdentity(name="scripted", version="1", weights_sha256="0" * 64)
    service = CHEST_RADIOGRAPH_FINDINGS
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


class KeptInMemory:
    """What a CaseStore keeps of analyses."""

    def __init__(self) -> None:
        self.values: dict[UUID, bytes] = {}

    async def analysis(self, analysis_id: UUID) -> bytes | None:
        return self.values.get(analysis_id)

    async def put_analysis(self, analysis_id: UUID, value: bytes) -> bytes:
        return self.values.setdefault(analysis_id, value)


def using(model: FindingModel, intended_use: IntendedUse | None = None) -> ModelsInUse:
    """The model alone, for as long as the test lasts."""

    async def close() -> None:
        """It holds nothing."""

    return ModelsInUse(InUse(model, intended_use or IntendedUse(), close))


def record_of(request: AnalysisRequested) -> Record:
    value = request.model_dump_json().encode()
    return Record(Place("ai.requests", 1, 7), b"k", value, (), datetime(2026, 2, 2, tzinfo=UTC))


def request_for(study: StudyInstanceUID, images: Sequence[ImageReference]) -> AnalysisRequested:
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


async def run(
    archive: FakeStudyArchive, request: AnalysisRequested, model: ScriptedModel | None = None
) -> tuple[Findings, Outgoing]:
    (out,) = await analyse(
        record_of(request),
        archive=archive,
        decoder=InProcessDecoder(),
        models=using(model or ScriptedModel()),
        decoding=Turns(),
        predicting=Turns(),
        kept=KeptInMemory(),
    )
    return Findings.model_validate_json(out.value), out


async def stored(*images: Dataset) -> tuple[FakeStudyArchive, AnalysisRequested]:
    archive = FakeStudyArchive()
    await archive.store([part10(image) for image in images])
    study = study_of(images[0])
    return archive, request_for(study, (await archive.describe(study)).images)

"""From a request to what the model found in its images, or why it was not asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from pydantic import ValidationError

from schemas.errors import MalformedMessage, Unsuitable
from schemas.events import FINDINGS_TYPE, Priority
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, NotAnalysed
from schemas.identifiers import identity
from schemas.ports import FindingModel, ImageDecoder, Outgoing, Prediction, Record
from schemas.study_events import AnalysisRequested, ImageReference
from schemas.study_ports import StudyReader
from streams import topics
from streams.emission import emit_value
from streams.promotion.models_in_use import InUse, ModelsInUse
from streams.steps.choosing import StudyHeaders, as_the_rules_read_it, choose, refusal
from streams.turns import Turns

#: images of one study that are fetched and decoded at the same time: each is held in memory
_IMAGES_IN_FLIGHT = 2


class Kept(Protocol):
    """The two things that this step needs of a CaseStore: what an analysis said stays said."""

    async def analysis(self, analysis_id: UUID, /) -> bytes | None: ...

    async def put_analysis(self, analysis_id: UUID, value: bytes, /) -> bytes: ...


def analysis_id(request: AnalysisRequested, service: str) -> UUID:
    """Of the service whose report a study always has, the request's own; the others that answer it have one of their own each."""
    return request.id if service == CHEST_RADIOGRAPH_FINDINGS else identity("analysis", str(request.id), service)


async def analyse(
    record: Record,
    *,
    archive: StudyReader,
    decoder: ImageDecoder,
    models: ModelsInUse,
    decoding: Turns,
    predicting: Turns,
    kept: Kept | None,
    results: topics.Topic = topics.RESULTS,
    name: Callable[[AnalysisRequested, str], UUID] = analysis_id,
) -> Sequence[Outgoing]:
    """An AnalysisRequested becomes Findings on `results`, under the id that `name` gives it for the service of `models`.
    `decoding`, `predicting`: whose image is decoded, and seen by the model, next.

    One model makes the whole analysis. What was said first stays said: read again, after a promotion too, the same bytes are
    written (`kept` None: of a sandbox, that nobody is told of).

    Every chosen image must be analysed: when one is broken or missing the error is raised, because findings of the
    others alone would read as "nothing else". Raises MalformedMessage, InvalidResource, StudyIncomplete, ItemNotServed,
    ArchiveUnavailable, StoreUnavailable, AccessRefused, ResourceRefused, ModelFailed, ModelUnavailable."""
    try:
        request = AnalysisRequested.model_validate_json(record.value)
    except ValidationError:
        raise MalformedMessage("analyse", str(record.place), "no AnalysisRequested") from None
    id = name(request, models.service)
    value = None if kept is None else await kept.analysis(id)
    if value is None:
        async with models.lease() as in_use:
            findings = await _findings(request, id, in_use, archive, decoder, decoding, predicting)
        value = findings.model_dump_json().encode("utf-8")
        if kept is not None:
            value = await kept.put_analysis(id, value)
    study, at = request.subject.study_instance_uid, request.subject.triggered_at
    return [emit_value(results, study, value, id=id, type=FINDINGS_TYPE, time=at, cause=record)]


async def _findings(
    request: AnalysisRequested,
    id: UUID,
    in_use: InUse,
    archive: StudyReader,
    decoder: ImageDecoder,
    decoding: Turns,
    predicting: Turns,
) -> Findings:
    model, intended_use = in_use.model, in_use.intended_use
    chosen = choose(request.images, intended_use, StudyHeaders(request.patient_age_years, request.study_description))
    if isinstance(chosen, NotAnalysed):
        return _not_analysed(request, id, model, chosen)

    bounded = asyncio.Semaphore(_IMAGES_IN_FLIGHT)
    rank = _rank(request)

    async def one(image: ImageReference) -> Prediction | NotAnalysed:
        async with bounded:
            part10 = await archive.instance(request.subject.study_instance_uid, image)
            try:
                async with decoding.turn(rank):
                    radiograph = await decoder.decode(part10, image.sop_instance_uid)
                if refused := refusal(radiograph, intended_use):
                    return refused
                async with predicting.turn(rank):
                    return await model.predict(as_the_rules_read_it(radiograph, intended_use))
            except Unsuitable as error:
                return NotAnalysed(reason=error.code, explanation=error.reason)

    answers = await asyncio.gather(*(one(image) for image in chosen), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    predictions = [answer for answer in answers if isinstance(answer, Prediction)]
    refusals = [answer for answer in answers if isinstance(answer, NotAnalysed)]
    return _analysed(request, id, model, predictions) if predictions else _not_analysed(request, id, model, refusals[0])


def _rank(request: AnalysisRequested) -> int:
    """STAT, what somebody waits for, what nobody is told of."""
    return 0 if request.priority is Priority.STAT else 1 if request.subject.outward else 2


def _analysed(request: AnalysisRequested, id: UUID, model: FindingModel, predictions: Sequence[Prediction]) -> Findings:
    found = [finding for prediction in predictions for finding in prediction.findings]
    return Findings(
        analysis_id=id,
        subject=request.subject,
        service=model.service,
        model=model.identity,
        images=tuple(prediction.image for prediction in predictions),
        findings=tuple(finding.model_copy(update={"ordinal": ordinal}) for ordinal, finding in enumerate(found, start=1)),
        threshold=model.threshold,
    )


def _not_analysed(request: AnalysisRequested, id: UUID, model: FindingModel, why: NotAnalysed) -> Findings:
    return Findings(analysis_id=id, subject=request.subject, service=model.service, not_analysed=why)

"""From a request to what the model found in its images, or why it was not asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pydantic import ValidationError

from schemas.errors import MalformedMessage, Unsuitable
from schemas.events import FINDINGS_TYPE, Priority
from schemas.findings import Findings, NotAnalysed
from schemas.ports import FindingModel, ImageDecoder, Outgoing, Prediction, Record
from schemas.study_events import AnalysisRequested, ImageReference
from schemas.study_ports import StudyArchive
from streams import topics
from streams.emission import emit_value
from streams.steps.choosing import IntendedUse, StudyHeaders, as_the_rules_read_it, choose, refusal
from streams.turns import Turns

#: images of one study that are fetched and decoded at the same time: each is held in memory
_IMAGES_IN_FLIGHT = 2


async def analyse(
    record: Record,
    *,
    archive: StudyArchive,
    decoder: ImageDecoder,
    model: FindingModel,
    intended_use: IntendedUse,
    decoding: Turns,
    predicting: Turns,
) -> Sequence[Outgoing]:
    """An AnalysisRequested becomes Findings on `ai.results`, with the request's id. `decoding`, `predicting`: whose image is
    decoded, and seen by the model, next.

    Every chosen image must be analysed: when one is broken or missing the error is raised, because findings of the
    others alone would read as "nothing else". Raises MalformedMessage, InvalidResource, StudyIncomplete, ItemNotServed,
    ArchiveUnavailable, AccessRefused, ResourceRefused, ModelFailed."""
    try:
        request = AnalysisRequested.model_validate_json(record.value)
    except ValidationError:
        raise MalformedMessage("analyse", str(record.place), "no AnalysisRequested") from None
    chosen = choose(request.images, intended_use, StudyHeaders(request.patient_age_years, request.study_description))
    if isinstance(chosen, NotAnalysed):
        return [_result(_not_analysed(request, chosen), record)]

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
    return [_result(_analysed(request, predictions, model) if predictions else _not_analysed(request, refusals[0]), record)]


def _rank(request: AnalysisRequested) -> int:
    """STAT, what somebody waits for, what nobody is told of."""
    return 0 if request.priority is Priority.STAT else 1 if request.subject.outward else 2


def _analysed(request: AnalysisRequested, predictions: Sequence[Prediction], model: FindingModel) -> Findings:
    found = [finding for prediction in predictions for finding in prediction.findings]
    return Findings(
        analysis_id=request.id,
        subject=request.subject,
        service=model.service,
        model=model.identity,
        images=tuple(prediction.image for prediction in predictions),
        findings=tuple(finding.model_copy(update={"ordinal": ordinal}) for ordinal, finding in enumerate(found, start=1)),
        threshold=model.threshold,
    )


def _not_analysed(request: AnalysisRequested, why: NotAnalysed) -> Findings:
    return Findings(analysis_id=request.id, subject=request.subject, not_analysed=why)


def _result(findings: Findings, cause: Record) -> Outgoing:
    return emit_value(
        topics.RESULTS,
        findings.subject.study_instance_uid,
        findings.model_dump_json().encode("utf-8"),
        id=findings.analysis_id,
        type=FINDINGS_TYPE,
        time=findings.subject.triggered_at,
        cause=cause,
    )

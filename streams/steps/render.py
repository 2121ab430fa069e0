"""`ai.results` -> pictures of the analysed images in the object store, for people to look at. Findings never wait for them."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TypeVar

import structlog
from pydantic import ValidationError

from schemas.errors import (
    AccessRefused,
    MalformedMessage,
    ObjectStoreUnavailable,
    RadstreamError,
    Rejected,
    StudyIncomplete,
    Unsuitable,
)
from schemas.findings import AnalysedImage, Findings
from schemas.identifiers import StudyInstanceUID
from schemas.ports import ImageRenderer, ObjectStore, Outgoing, Record
from schemas.study_events import ImageReference
from schemas.study_ports import StudyArchive
from streams.pictures import picture_name

logger = structlog.get_logger()
T = TypeVar("T")

_STEP = "render"


async def render(record: Record, *, archive: StudyArchive, renderer: ImageRenderer, objects: ObjectStore) -> Sequence[Outgoing]:
    """Writes nothing on the log. An image that is gone from the archive by now, or another one, has no picture: that is no fault,
    and its study has a new revision. Raises MalformedMessage, Unavailable, ItemNotServed, AccessRefused (by the archive)."""
    try:
        findings = Findings.model_validate_json(record.value)
    except ValidationError:  # its text quotes the input
        raise MalformedMessage(_STEP, str(record.place), "the value is not Findings as JSON") from None
    missing = [image for image in findings.images if not await _allowed(objects.holds(picture_name(image.pixel_sha256)))]
    if not missing:
        return []
    study = findings.subject.study_instance_uid
    try:
        images = {image.sop_instance_uid: image for image in (await archive.describe(study)).images}
    except StudyIncomplete as error:
        _tell_no_picture(f"study {study}", error)
        return []
    for image in missing:
        await _picture(study, image, images.get(image.sop_instance_uid), archive, renderer, objects)
    return []


async def _picture(
    study: StudyInstanceUID,
    analysed: AnalysedImage,
    image: ImageReference | None,
    archive: StudyArchive,
    renderer: ImageRenderer,
    objects: ObjectStore,
) -> None:
    reference = f"instance {analysed.sop_instance_uid}"
    try:
        if image is None:
            raise StudyIncomplete(_STEP, reference, "the archive holds it no more, or no more as an eligible image")
        rendering = await renderer.render(await archive.instance(study, image), image.sop_instance_uid)
        if rendering.pixel_sha256 != analysed.pixel_sha256:
            raise StudyIncomplete(_STEP, reference, "the archive holds other pixels than were analysed")
    except (StudyIncomplete, Rejected, Unsuitable) as error:
        _tell_no_picture(reference, error)
    else:
        await _allowed(objects.put(picture_name(rendering.pixel_sha256), rendering.png))


def _tell_no_picture(reference: str, error: RadstreamError) -> None:
    logger.info("no picture", reference=reference, error=type(error).__name__, reason=error.reason)


async def _allowed(asked: Awaitable[T]) -> T:
    """A store that refuses us refuses every picture: the step waits until a person has put it right, and blames no study."""
    try:
        return await asked
    except AccessRefused as error:
        raise ObjectStoreUnavailable(error.step, error.reference, error.reason) from None

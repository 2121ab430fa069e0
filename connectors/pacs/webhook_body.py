"""What is posted to the webhook, as JSON, and the notice that it becomes."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails

from schemas.errors import MalformedMessage
from schemas.identifiers import AccessionNumber, SOPInstanceUID, StudyInstanceUID, identity
from schemas.notices import StudyNoticed

#: problems that one answer tells
_TOLD = 5

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=250)]
#: PS3.5 6.2, value representation AE
_AETitle = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[ -\[\]-~]{1,16}$")]


class Posted(BaseModel):
    """The words of StudyNoticed; types are not guessed ("yes" is not true)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    #: of the caller: what it posts again under the same one is the same notice
    id: _Text | None = None
    study_instance_uid: StudyInstanceUID | None = None
    accession_number: _Text | None = None
    issuer_of_accession_number: _Text | None = None
    settled: bool = False
    removed: bool = False
    instances: tuple[SOPInstanceUID, ...] = ()
    instance_count: Annotated[int, Field(ge=0)] | None = None
    source_ae_title: _AETitle | None = None

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if self.study_instance_uid is None and self.accession_number is None:
            raise ValueError("name the study_instance_uid, or else the accession_number")
        if self.issuer_of_accession_number is not None and self.accession_number is None:
            raise ValueError("issuer_of_accession_number goes with accession_number")
        return self


def notice_of(body: bytes, *, source: str, time: datetime, default_accession_assigner: str) -> StudyNoticed:
    """The same body, or the same `id` for the same study, is the same notice. Raises MalformedMessage, whose reason names the
    fields that are wrong and never what stands in them."""
    try:
        posted = Posted.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise MalformedMessage(source, "body", "; ".join(_told(problem) for problem in problems[:_TOLD])) from None
    number = None
    if posted.accession_number is not None:
        assigner = posted.issuer_of_accession_number or default_accession_assigner
        number = AccessionNumber(value=posted.accession_number, assigner=assigner)
    named = posted.study_instance_uid or str(number)
    own = hashlib.sha256(body).hexdigest() if posted.id is None else posted.id
    return StudyNoticed(
        id=identity("study-noticed", source, named, own),
        time=time,
        source=source,
        source_position=posted.id or "",
        study_instance_uid=posted.study_instance_uid,
        accession_number=number,
        settled=posted.settled,
        removed=posted.removed,
        instances=posted.instances,
        instance_count=posted.instance_count,
        source_ae_title=posted.source_ae_title,
    )


def _told(problem: ErrorDetails) -> str:
    """pydantic's words hold no value; the name of a field that is none may be one."""
    if problem["type"] == "extra_forbidden":
        return f"a field that is not known; there are {', '.join(Posted.model_fields)}"
    reason = problem["msg"].removeprefix("Value error, ")
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {reason}" if where else reason

"""What a dead letter of one side of a comparison is about, and by what the other side's is known as the same."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pydantic import ValidationError

from schemas.errors import StudyIncomplete
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, Subject
from schemas.ports import Record
from schemas.study_events import AnalysisRequested
from streams.dead_letter import split_headers

#: step, identity of the record it was made of, error, reason: what two sides have in common when both gave up for one reason
Twin = tuple[str, str, str, str]

#: as a replay words an error that the engine would come back to (streams.replay.cascade)
_LATER = re.compile(r"(?:^|: )(?P<error>[A-Z][A-Za-z]+): (?P<reason>.*); a replay does not come back to it\Z", re.DOTALL)
#: where a record stands is another place in each replay
_PLACE = re.compile(r"[A-Za-z0-9._-]+/[0-9]+/[0-9]+")
#: letters of a reason that two have in common
_COMPARED = 500
_ANALYSE = "analyse"


@dataclass(frozen=True, slots=True)
class Letter:
    """`step`: as the engine calls it. `original`: the record as it was, without our headers and without its value. `subject`,
    `service`: of a request or an answer, None and "" of anything else."""

    step: str
    id: str
    error: str
    reason: str
    original: Record
    subject: Subject | None = None
    service: str = ""

    @property
    def twin(self) -> Twin:
        return self.step, self.id, self.error, "" if self.image_is_gone else self._why

    @property
    def _why(self) -> str:
        """The reason, without how a replay words it and without places; the start of it, for a long one was cut."""
        found = _LATER.search(self.reason)
        reason = self.reason if found is None else f"{self.reason[: found.start('error')]}{found['reason']}"
        return _PLACE.sub("", reason)[:_COMPARED]

    @property
    def sequence(self) -> int:
        return 0 if self.subject is None else self.subject.sequence

    @property
    def of_analysis(self) -> bool:
        return self.step.partition(".")[0] == _ANALYSE

    @property
    def image_is_gone(self) -> bool:
        """The archive does not hold it any more: no fault of a model or a step."""
        return self.of_analysis and self.error == StudyIncomplete.__name__

    def __str__(self) -> str:
        return f"a dead letter of {self.step}: {': '.join(filter(None, (self.error, self.reason)))}"


def letter_of(record: Record) -> Letter:
    """A record of `radstream.dead-letters`."""
    try:
        original = replace(record, headers=split_headers(record)[0], value=b"")  # a message may be of many megabytes
    except ValueError:
        original = replace(record, value=b"")
    step, error, reason = (record.header(name) or "" for name in ("step", "error", "reason"))
    if found := _LATER.search(reason):
        error = found["error"]
    place = "/".join(record.header(name) or "" for name in ("topic", "partition", "offset"))
    letter = Letter(step, original.header("ce_id") or place, error, reason, original)
    subject, service = _about(record.value, step)
    if subject is None:
        return letter
    # an answer and its mark have one id
    return replace(letter, subject=subject, service=service, id=f"{letter.id} {subject.sequence}")


def _about(value: bytes, step: str) -> tuple[Subject | None, str]:
    try:
        return AnalysisRequested.model_validate_json(value).subject, step.partition(".")[2] or CHEST_RADIOGRAPH_FINDINGS
    except ValidationError:
        pass
    try:
        findings = Findings.model_validate_json(value)
    except ValidationError:
        return None, ""
    return findings.subject, findings.service

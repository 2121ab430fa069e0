"""What was said live and in a replay, for the tests of its diff and of its publication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from schemas.errors import RadstreamError, Rejected
from schemas.events import Priority
from schemas.findings import DEMONSTRATION, Finding, FindingKind, Findings, ModelIdentity, NotAnalysed, NotAnalysedReason, Region
from schemas.identifiers import StudyInstanceUID, identity
from schemas.ports import Outgoing, Place, Record
from schemas.renderings.fhir.bundle import bundle_of
from schemas.study_events import AnalysisRequested
from streams.dead_letter import dead_letter
from streams.emission import emit_findings
from streams.replay.changes import Tolerance
from streams.replay.differing import StudyDiff, differences
from streams.replay.said import Side
from tests.contract import example_findings as example
from tests.unit.cases import NOON, image

NAME = "last-week"
OTHER_MODEL = ModelIdentity(name="nodules", version="2", weights_sha256="b" * 64)
Place4 = tuple[float, float, float, float]
HERE: Place4 = (100.0, 100.0, 60.0, 60.0)
THERE: Place4 = (1000.0, 800.0, 50.0, 50.0)


def uid(number: int) -> StudyInstanceUID:
    return StudyInstanceUID(f"1.2.{number}")


def said(
    number: int = 1,
    boxes: Sequence[Place4] = (),
    *,
    probability: float = 0.75,
    found: float = 0.9,
    kind: FindingKind = FindingKind.NODULE,
    sequence: int = 16,
    reason: NotAnalysedReason | None = None,
    minutes: float = 0,
    **changed: Any,
) -> Findings:
    """Of study 1.2.NUMBER, with its first image; boxes: left, top, width, height; `found`: probability of each. `changed`: of
    Findings or of its subject."""
    about = example.subject(study=uid(number)).model_copy(
        update={"sequence": sequence, "revision": f"{number:064x}", "triggered_at": NOON + timedelta(minutes=minutes)}
    )
    of_subject = {name: changed.pop(name) for name in list(changed) if name in type(about).model_fields}
    about = about.model_copy(update=of_subject)
    regions = [
        Finding(
            ordinal=ordinal,
            kind=kind,
            probability=found,
            region=Region(sop_instance_uid=example.IMAGE, left=left, top=top, width=width, height=height),
        )
        for ordinal, (left, top, width, height) in enumerate(boxes, start=1)
    ]
    id = identity("test-analysis", str(number), str(sequence))
    if reason is not None:
        why = NotAnalysed(reason=reason, explanation="Because.")
        return Findings(**({"analysis_id": id, "subject": about, "not_analysed": why} | changed))
    values = {"analysis_id": id, "images": (example.image(probability=probability),)} | changed
    return example.findings(about, *regions, **values)


def record(findings: Findings, topic: str = "ai.results", *, cause: str = "ai.requests/0/1", offset: int = 0) -> Record:
    out = emit_findings(findings, Record(_place(cause), None, b"", (), NOON))
    return Record(Place(topic, 0, offset), out.key, out.value, out.headers, NOON)


def outgoing(findings: Findings, topic: str = "ai.results", cause: str = "ai.requests/0/1") -> Outgoing:
    return replace(emit_findings(findings, Record(_place(cause), None, b"", (), NOON)), topic=topic)


def side(*several: Findings, topic: str = "ai.results") -> Side:
    side = Side()
    for offset, one in enumerate(several):
        side.result(record(one, topic, offset=offset))
    return side


def one_diff(then: Findings, now: Findings, tolerance: Tolerance = Tolerance()) -> StudyDiff:
    (found,) = differences(side(then), side(now, topic=f"sandbox.{NAME}.ai.results"), tolerance)
    return found


def kinds(diff: StudyDiff) -> list[str]:
    return [change.kind for change in diff.changes]


def request(number: int, sequence: int = 16, topic: str = "ai.requests", priority: Priority = Priority.ROUTINE) -> Record:
    subject = said(number, sequence=sequence).subject
    asked = AnalysisRequested(id=example.findings().analysis_id, time=NOON, subject=subject, images=(image(1),), priority=priority)
    return Record(Place(topic, 0, number), str(uid(number)).encode(), asked.model_dump_json().encode(), (), NOON)


def letter(number: int, sequence: int = 16, error: Exception | None = None, step: str = "analyse") -> Record:
    return put_aside(request(number, sequence), error or gone(number), step)


def put_aside(record: Record, error: Exception, step: str) -> Record:
    out = dead_letter(record, step, error, 1)
    return Record(Place(f"sandbox.{NAME}.{out.topic}", 0, 0), out.key, out.value, out.headers, NOON)


def gone(number: int) -> RadstreamError:
    """As the guard of a replay sees it."""
    said_why = "StudyIncomplete: the archive does not hold it; a replay does not come back to it"
    return Rejected("analyse", f"study {uid(number)}", said_why)


def bundle(findings: Findings, conclusion: str) -> Record:
    """With another conclusion than its own."""
    value = bundle_of(findings, example.SITE)
    told = value.replace(_conclusion(value), conclusion.encode())
    return Record(Place("ai.findings", 0, 0), findings.subject.study_instance_uid.encode(), told, (), NOON)


def _conclusion(value: bytes) -> bytes:
    before, _, rest = value.partition(b'"conclusion":"')
    assert before and DEMONSTRATION.encode() in rest
    return rest.partition(b'"')[0]


def _place(text: str) -> Place:
    topic, partition, offset = text.split("/")
    return Place(topic, int(partition), int(offset))

"""What was said live and in a replay, for the tests of its diff and of its publication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from schemas.findings import Finding, FindingKind, Findings, ModelIdentity, NotAnalysed, NotAnalysedReason, Region
from schemas.identifiers import StudyInstanceUID, identity
from schemas.ports import Outgoing, Place, Record
from streams.emission import emit_findings
from streams.replay.changes import Tolerance
from streams.replay.differing import StudyDiff, differences
from streams.replay.said import Side
from tests.contract import example_findings as example
from tests.unit.cases import NOON

NAME = "last-week"
OTHER_MODEL = ModelIdentity(name="nodules", version="2", weights_sha256="b" * 64)
Place4 = tuple[float, float, float, float]
HERE: Place4 = (100.0, 100.0, 60.0, 60.0)


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


def _place(text: str) -> Place:
    topic, partition, offset = text.split("/")
    return Place(topic, int(partition), int(offset))

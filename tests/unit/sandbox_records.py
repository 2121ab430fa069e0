"""Results as the model in use and a candidate write them, and the requests that they answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from schemas.findings import (
    CHEST_RADIOGRAPH_FINDINGS,
    AnalysedImage,
    Finding,
    FindingKind,
    Findings,
    ModelIdentity,
    NotAnalysed,
    NotAnalysedReason,
    Region,
    Subject,
)
from schemas.outputs import Coding, Output
from schemas.ports import Place, Record

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
ID = UUID("00000000-0000-5000-8000-000000000001")
IN_USE = ModelIdentity(name="chest", version="1", weights_sha256="1" * 64)
CANDIDATE = ModelIdentity(name="chest", version="2", weights_sha256="2" * 64)
NODULE, MASS = FindingKind.NODULE, FindingKind.MASS

Place4 = tuple[float, float, float, float]


def output(name: str, value: float, threshold: float | None = 0.5) -> Output:
    return Output(name=name, coding=Coding(system="urn:test", code=name, display=name), value=value, threshold=threshold)


def findings(
    number: int,
    model: ModelIdentity,
    boxes: Sequence[Place4] = (),
    *,
    probability: float | None = 0.5,
    kind: FindingKind = NODULE,
    outputs: Sequence[Output] = (),
    reason: NotAnalysedReason | None = None,
    sequence: int = 1,
    revision: str = "a" * 64,
    service: str = CHEST_RADIOGRAPH_FINDINGS,
    triggered_at: datetime = NOON,
) -> Findings:
    """Of study 1.2.`number`; boxes are left, top, width, height."""
    uid = f"1.2.{number}.1"
    image = AnalysedImage(
        sop_instance_uid=uid, pixel_sha256="0" * 64, rows=100, columns=100, probability=probability, outputs=tuple(outputs)
    )
    found = [
        Finding(
            ordinal=ordinal,
            kind=kind,
            probability=0.9,
            region=Region(sop_instance_uid=uid, left=left, top=top, width=width, height=height),
        )
        for ordinal, (left, top, width, height) in enumerate(boxes, start=1)
    ]
    analysed = {"model": model, "images": (image,), "findings": tuple(found), "threshold": None if probability is None else 0.5}
    return Findings(
        analysis_id=ID,
        subject=Subject(study_instance_uid=f"1.2.{number}", revision=revision, sequence=sequence, triggered_at=triggered_at),
        service=service,
        **({"not_analysed": NotAnalysed(reason=reason, explanation="Because.")} if reason else analysed),
    )


def result(value: Findings, *, cause: str | None = None, after_s: float = 1.0) -> Record:
    """Written so many seconds after NOON; its cause: a request at the offset that is the study's number."""
    number = int(value.subject.study_instance_uid.rpartition(".")[2])
    cause = f"ai.requests/0/{number}" if cause is None else cause
    at = NOON + timedelta(seconds=after_s)
    return Record(Place("any", 0, number), b"k", value.model_dump_json().encode(), (("cause", cause.encode()),), at)


def request(number: int, after_s: float = 0.0, topic: str = "ai.requests") -> Record:
    """Nothing but its place and its time is read."""
    return Record(Place(topic, 0, number), b"k", b"{}", (), NOON + timedelta(seconds=after_s))

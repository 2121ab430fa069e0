"""What cannot be said: findings of no model, on an unseen image, beside "not analysed"."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from schemas.findings import (
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
from schemas.identifiers import SOPInstanceUID, StudyInstanceUID
from schemas.outputs import Coding, Output

SEEN = SOPInstanceUID("1.2.3.4")
SUBJECT = Subject(
    study_instance_uid=StudyInstanceUID("1.2.3"), revision="0" * 64, sequence=1, triggered_at=datetime(2026, 1, 1, tzinfo=UTC)
)


LINE = Output(name="line", coding=Coding(system="urn:example:codes", code="line", display="Line"), value=0.9, threshold=0.5)
NOTHING_SAID = (AnalysedImage(sop_instance_uid=SEEN, pixel_sha256="0" * 64, rows=9, columns=9),)
ONLY_OUTPUTS = (NOTHING_SAID[0].model_copy(update={"outputs": (LINE,)}),)


def finding(ordinal: int, on: str = SEEN) -> Finding:
    region = Region(sop_instance_uid=SOPInstanceUID(on), left=1, top=2, width=3, height=4)
    return Finding(ordinal=ordinal, kind=FindingKind.NODULE, probability=0.5, region=region)


def findings(**changes: Any) -> Findings:
    values: dict[str, Any] = {
        "analysis_id": uuid4(),
        "subject": SUBJECT,
        "model": ModelIdentity(name="m", version="1", weights_sha256="0" * 64),
        "images": (AnalysedImage(sop_instance_uid=SEEN, pixel_sha256="0" * 64, rows=9, columns=9, probability=0.5),),
        "threshold": 0.4,
        "findings": (finding(1),),
    }
    return Findings(**{**values, **changes})


def test_what_is_said_survives_json() -> None:
    said = findings(findings=(finding(1), finding(2)))
    assert Findings.model_validate_json(said.model_dump_json()) == said
    assert said.present
    assert said.probability == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "a model"),
        ({"images": (), "findings": ()}, "at least one image"),
        ({"threshold": None}, "a threshold where"),
        ({"images": ONLY_OUTPUTS}, "a threshold where"),
        ({"images": ONLY_OUTPUTS, "threshold": None}, "looks for nothing with a place"),
        ({"images": NOTHING_SAID, "threshold": None, "findings": ()}, "nothing is said"),
        ({"service": "fhir#devices"}, "String should match"),
        ({"findings": (finding(2),)}, "numbered from 1"),
        ({"findings": (finding(1, on="1.2.9"),)}, "an image that was not analysed"),
        ({"not_analysed": NotAnalysed(reason=NotAnalysedReason.LATE, explanation="late")}, "neither findings nor"),
    ],
)
def test_what_cannot_be_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        findings(**changes)

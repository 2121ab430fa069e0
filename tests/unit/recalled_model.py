"""What a model that is recalled said of studies, what another version said, and the withdrawals."""

from __future__ import annotations

from schemas.findings import Findings, ModelIdentity, NotAnalysedReason
from schemas.identifiers import StudyInstanceUID
from tests.contract.example_findings import MODEL, not_analysed, subject, two_findings

NAME = MODEL.name
OTHER = ModelIdentity(name=NAME, version="2", weights_sha256="b" * 64)


def uid(number: int) -> StudyInstanceUID:
    return StudyInstanceUID(f"1.2.826.0.1.3680043.10.511.3.{number}")


def said(number: int, sequence: int = 4, *, model: ModelIdentity | None = None) -> Findings:
    found = two_findings(subject(sequence, study=uid(number)))
    return found if model is None else found.model_copy(update={"model": model})


def recalled(number: int, sequence: int = 6) -> Findings:
    return not_analysed(NotAnalysedReason.MODEL_RECALLED, subject(sequence, study=uid(number)), model=MODEL)

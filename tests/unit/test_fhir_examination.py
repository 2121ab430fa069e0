"""The code of a report: the LOINC number of the examination, where its order names it."""

from __future__ import annotations

from schemas.findings import Examination, Subject
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.envelope import open_bundle
from tests.contract.example_findings import SITE, findings, subject


def _code(of: Subject) -> object:
    return open_bundle(bundle_of(findings(of), SITE)).report["code"]


def test_that_of_the_order_without_words_of_ours_and_else_a_general_one() -> None:
    ordered = subject().model_copy(update={"examination": Examination(loinc="36643-5", text="Chest 2 views")})
    assert _code(ordered) == {"coding": [{"system": "http://loinc.org", "code": "36643-5"}], "text": "Chest 2 views"}
    assert _code(subject()) == {
        "coding": [{"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}],
        "text": "Diagnostic imaging study",
    }

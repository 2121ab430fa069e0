"""Findings -> FHIR -> Findings: every field comes back, to the last bit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from schemas.findings import Findings
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.provenance import Origin
from schemas.renderings.fhir.reading import findings_of, origin_of
from schemas.renderings.fhir.references import Site
from tests.contract.example_findings import SITE, every_state, finding, findings
from tests.unit.any_findings import any_findings


@given(any_findings())
def test_every_field_comes_back(of: Findings) -> None:
    assert findings_of(bundle_of(of, SITE)) == of


@given(any_findings())
def test_every_field_comes_back_from_json(of: Findings) -> None:
    assert Findings.model_validate_json(of.model_dump_json()) == of


@pytest.mark.parametrize("name", every_state())
def test_every_state_comes_back_whatever_the_site_calls_its_assigners(name: str) -> None:
    of = every_state()[name]
    shared = "urn:oid:1.2.3"  # two assigners in one system
    for site in (
        SITE,
        replace(SITE, language="zh-TW"),
        Site("ELSEWHERE"),
        Site("HOSPITAL", {"RIS": shared, "HIS": shared, "HOSPITAL & Sons": shared}),
    ):
        assert findings_of(bundle_of(of, site)) == of


@pytest.mark.parametrize("name", every_state())
def test_every_state_comes_back_from_a_bundle_that_was_written_anew(name: str) -> None:
    """By one whose JSON has another order and other spaces."""
    of = every_state()[name]
    assert findings_of(json.dumps(json.loads(bundle_of(of, SITE)), sort_keys=True, indent=1).encode()) == of


def test_the_origin_comes_back() -> None:
    origin = Origin("0af7651916cd43dd8448eb211c80319c", ("hl7.v2.raw/3/17", "ai.requests/0/4"))
    bundle = bundle_of(findings(), SITE, origin)
    assert origin_of(bundle) == origin
    assert findings_of(bundle) == findings()
    assert origin_of(bundle_of(findings(), SITE)) == Origin()


def _without(bundle: dict[str, Any], kind: str, element: str) -> bytes:
    for entry in bundle["entry"]:
        if entry["resource"]["resourceType"] == kind:
            entry["resource"].pop(element, None)
    return json.dumps(bundle).encode()


@pytest.mark.parametrize(
    ("kind", "element"),
    [
        ("DiagnosticReport", "imagingStudy"),
        ("DiagnosticReport", "extension"),
        ("DiagnosticReport", "issued"),
        ("Observation", "code"),
        ("Observation", "component"),
        ("Device", "version"),
        ("Provenance", "entity"),
    ],
)
def test_what_is_not_ours_is_refused_without_a_word_of_it(kind: str, element: str) -> None:
    broken = _without(json.loads(bundle_of(findings(None, finding(1)), SITE)), kind, element)
    with pytest.raises(ValueError, match=r"\Anot a Bundle of ai.findings\Z") as caught:
        findings_of(broken)
    assert caught.value.__cause__ is None

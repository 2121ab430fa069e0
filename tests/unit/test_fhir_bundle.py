"""Findings as a FHIR Bundle: what must never be confused, what must never change, and that nothing is lost."""

from __future__ import annotations

import json
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.findings import DEMONSTRATION, WITHDRAWING, Finding, FindingKind, Findings, NotAnalysedReason, Region
from schemas.renderings.fhir import codes
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.envelope import open_bundle
from tests.contract.example_findings import (
    IMAGE,
    SITE,
    after_verification,
    devices_alone,
    every_state,
    finding,
    findings,
    image,
    indeterminate,
    not_analysed,
    subject,
    two_findings,
)
from tests.unit.fhir_bundles import components, report, resources


@pytest.mark.parametrize("name", every_state())
def test_a_machine_never_says_final(name: str) -> None:
    of = every_state()[name]
    expected = ("partial", "preliminary") if of.not_analysed is None else ("cancelled", "cancelled")
    assert report(of)["status"] == expected[0]
    assert {observation["status"] for observation in resources(of, "Observation")} == {expected[1]}


@pytest.mark.parametrize("name", every_state())
def test_every_reference_within_the_bundle_resolves(name: str) -> None:
    bundle = json.loads(bundle_of(every_state()[name], SITE))
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(urls)) == len(urls)
    assert urls == [f"urn:uuid:{entry['resource']['id']}" for entry in bundle["entry"]]
    referred = set(_references(bundle))
    assert referred <= set(urls)
    assert set(urls) - referred == {urls[-1]}  # nothing refers to the Provenance, which refers to all


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["reference"]] if "reference" in node else []
        return own + [found for value in node.values() for found in _references(value)]
    return [found for item in node for found in _references(item)] if isinstance(node, list) else []


@pytest.mark.parametrize("name", every_state())
def test_all_that_an_ai_said_is_labelled(name: str) -> None:
    of = every_state()[name]
    for resource in [report(of), *resources(of, "Observation")]:
        assert [label["code"] for label in resource["meta"]["security"]] == ["AIAST"]
    assert DEMONSTRATION in report(of)["conclusion"]


def test_the_same_findings_give_the_same_bytes() -> None:
    of = two_findings()
    elsewhere = of.subject.triggered_at.astimezone(timezone(timedelta(hours=8)))  # the same moment
    again = of.model_copy(update={"subject": of.subject.model_copy(update={"triggered_at": elsewhere})})
    assert bundle_of(Findings.model_validate_json(again.model_dump_json()), SITE) == bundle_of(of, SITE)


def test_present_names_each_finding() -> None:
    of = two_findings()
    root, nodule, mass = resources(of, "Observation")
    assert root["valueCodeableConcept"]["coding"][0]["code"] == "52101004"
    assert [member["reference"] for member in root["hasMember"]] == [f"urn:uuid:{nodule['id']}", f"urn:uuid:{mass['id']}"]
    assert [result["reference"] for result in report(of)["result"]] == [
        f"urn:uuid:{observation['id']}" for observation in (root, nodule, mass)
    ]
    assert nodule["code"]["coding"][0]["code"] == "786838002"
    assert mass["code"]["coding"][0]["code"] == "309529002"
    assert components(root) == {"study-probability": 0.75, "threshold": 0.5}
    assert components(mass)["103339001"] == 31.5
    assert "1 nodule and 1 mass" in report(of)["conclusion"]
    for observation in (root, nodule, mass):
        assert observation["device"]["reference"] == f"urn:uuid:{resources(of, 'Device')[0]['id']}"


def test_absent_is_said_in_as_many_words() -> None:
    of = findings()
    (root,) = resources(of, "Observation")
    assert root["valueCodeableConcept"]["coding"][0]["code"] == "2667000"
    assert "dataAbsentReason" not in root
    assert "hasMember" not in root
    assert "found no nodule or mass" in report(of)["conclusion"]


def test_indeterminate_is_neither_present_nor_absent() -> None:
    """The score of the study reaches the operating point, and nothing was located."""
    of = indeterminate()
    (root,) = resources(of, "Observation")
    assert root["valueCodeableConcept"]["coding"][0]["code"] == "82334004"
    assert components(root) == {"study-probability": 0.75, "threshold": 0.5}
    assert "hasMember" not in root
    said = report(of)["conclusion"]
    assert "AI cannot tell" in said
    assert "found no" not in said
    assert "suspects" not in said


@pytest.mark.parametrize(("probability", "answer"), [(0.5, "82334004"), (0.49, "2667000")])
def test_the_operating_point_itself_is_reached(probability: float, answer: str) -> None:
    (root,) = resources(findings(images=(image(probability=probability),)), "Observation")
    assert root["valueCodeableConcept"]["coding"][0]["code"] == answer


def test_a_finding_below_the_score_of_the_study_is_present_all_the_same() -> None:
    root, *_ = resources(findings(None, finding(1), images=(image(probability=0.1),)), "Observation")
    assert root["valueCodeableConcept"]["coding"][0]["code"] == "52101004"


@pytest.mark.parametrize("of", [two_findings(), findings(), indeterminate(), devices_alone()])
def test_after_verification_is_said_in_report_and_observations(of: Findings) -> None:
    marked = after_verification(of)
    words = "After verification: AI answered when the radiologist's report had been verified (2026-11-24 08:15 UTC)."
    assert report(marked)["conclusion"] == f"{words} {report(of)['conclusion']}"
    assert {"url": "urn:radstream:extension:verified-at", "valueDateTime": "2026-11-24T08:15:30Z"} in report(marked)["extension"]
    for observation in resources(marked, "Observation"):
        assert observation["note"] == [{"text": words}]
    assert not any("note" in observation for observation in resources(of, "Observation"))
    assert [one["id"] for one in resources(marked, "Observation")] == [one["id"] for one in resources(of, "Observation")]


def test_a_nodule_is_said_in_three_terminologies_and_a_mass_in_two() -> None:
    _, nodule, mass = resources(two_findings(), "Observation")
    assert [(coding["system"], coding["code"]) for coding in nodule["code"]["coding"]] == [
        ("http://snomed.info/sct", "786838002"),
        ("http://radlex.org", "RID50149"),
        ("https://radelement.org", "RDES195"),
    ]
    assert [coding["code"] for coding in mass["code"]["coding"]] == ["309529002", "RID39056"]
    assert components(nodule)["RDE1717"]["coding"][0]["code"] == "RDE1717.1"
    assert "RDE1717" not in components(mass)


def test_a_probability_says_what_it_means_and_a_size_where_it_is_true() -> None:
    root, _, mass = resources(two_findings(), "Observation")
    found = {
        component["code"]["coding"][0]["code"]: [coding["code"] for coding in component["code"]["coding"][1:]]
        for observation in (root, mass)
        for component in observation["component"]
    }
    assert found["probability"] == found["study-probability"] == ["score"]
    assert found["103339001"] == ["detector"]


@pytest.mark.parametrize("reason", NotAnalysedReason)
def test_not_analysed_says_why_and_has_no_value(reason: NotAnalysedReason) -> None:
    of = not_analysed(reason)
    (root,) = resources(of, "Observation")
    assert not [name for name in root if name.startswith("value")]
    assert [coding["code"] for coding in root["dataAbsentReason"]["coding"]] == ["not-performed", reason.value]
    words = codes.NOT_ANALYSED[reason].display
    assert words in root["dataAbsentReason"]["text"]
    assert f"Not analysed by AI: {words}." in report(of)["conclusion"]
    assert root["note"] == [{"text": "the words of the step"}]
    assert open_bundle(bundle_of(of, SITE)).withdraws is (reason in WITHDRAWING)
    assert resources(of, "Device") == []


def test_no_order_is_said_once() -> None:
    without = subject(orders=())
    for of in (two_findings(without), findings(without), not_analysed(NotAnalysedReason.NO_ORDER, without)):
        assert report(of)["conclusion"].lower().count("no order") == 1
        assert "basedOn" not in report(of)
    assert "no order" not in report(two_findings())["conclusion"].lower()


_edges = st.floats(min_value=0, max_value=1e5, allow_nan=False)
_sizes = st.floats(min_value=0, max_value=1e5, exclude_min=True, allow_nan=False)


@given(
    probability=st.floats(min_value=0, max_value=1),
    box=st.tuples(_edges, _edges, _sizes, _sizes),
    frame=st.integers(min_value=1, max_value=10_000),
    kind=st.sampled_from(FindingKind),
)
def test_numbers_survive_to_the_last_bit(
    probability: float, box: tuple[float, float, float, float], frame: int, kind: FindingKind
) -> None:
    left, top, width, height = box
    region = Region(sop_instance_uid=IMAGE, frame=frame, left=left, top=top, width=width, height=height)
    of = findings(None, Finding(ordinal=1, kind=kind, probability=probability, region=region))
    _, observation = resources(of, "Observation")
    assert {name: value for name, value in components(observation).items() if name != "RDE1717"} == {
        "probability": probability,
        "sop-instance-uid": IMAGE,
        "frame": frame,
        "region-left": left,
        "region-top": top,
        "region-width": width,
        "region-height": height,
    }

"""Findings as a FHIR Bundle: what must never be confused, what must never change, and that nothing is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.provenance import Provenance
from hypothesis import given
from hypothesis import strategies as st

from schemas.findings import DEMONSTRATION, WITHDRAWING, Finding, FindingKind, Findings, NotAnalysedReason, Region
from schemas.identifiers import AccessionNumber, StudyInstanceUID
from schemas.renderings.fhir import codes
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.envelope import open_bundle, sequence_of
from schemas.renderings.fhir.provenance import Origin
from schemas.renderings.fhir.references import Site, observation_id, report_id
from schemas.renderings.fhir.resource import resource_of
from schemas.renderings.labels import disclaimer
from tests.contract.example_findings import (
    ACCESSION,
    IMAGE,
    MODEL,
    SITE,
    STUDY,
    after_verification,
    devices_alone,
    every_state,
    finding,
    findings,
    image,
    indeterminate,
    not_analysed,
    order,
    subject,
    two_findings,
)


def resources(of: Findings, type: str, site: Site = SITE, *, origin: Origin | None = None) -> list[dict[str, Any]]:
    entries = json.loads(bundle_of(of, site, origin))["entry"]
    return [entry["resource"] for entry in entries if entry["resource"]["resourceType"] == type]


def report(of: Findings, site: Site = SITE) -> dict[str, Any]:
    (found,) = resources(of, "DiagnosticReport", site)
    return found


def components(observation: dict[str, Any]) -> dict[str, Any]:
    """Value by code."""
    values = {}
    for component in observation["component"]:
        (name,) = (key for key in component if key.startswith("value"))
        value = component[name]
        values[component["code"]["coding"][0]["code"]] = value["value"] if name == "valueQuantity" else value
    return values


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


def test_identities_are_as_published() -> None:
    """Written down: changing one would leave every report ever delivered without its successor."""
    of = two_findings()
    assert str(report_id(STUDY, SITE)) == "5687ec97-308d-5283-b686-194f94463eca"
    assert str(observation_id(of.analysis_id, 0)) == "47e1753b-289b-52c6-958a-d014f81d21d6"
    assert resources(of, "Device")[0]["id"] == "593840e2-91de-579d-8eb7-94e746836c1e"


def test_one_report_per_study_whoever_analyses_it_and_whoever_assigns_the_accession_number() -> None:
    elsewhere = AccessionNumber(value="7", assigner="ANOTHER")
    other_model = MODEL.model_copy(update={"version": "2"})
    states = [
        two_findings(),
        findings(subject(2, accession=elsewhere)),
        findings(subject(3, accession=None, orders=())),
        findings(subject(4), model=other_model),
        not_analysed(NotAnalysedReason.LATE, subject(5)),
    ]
    assert {report(of)["id"] for of in states} == {str(report_id(STUDY, SITE))}
    assert len({resources(of, "Observation")[0]["id"] for of in states}) == len(states)
    assert report_id(StudyInstanceUID("1.2.3"), SITE) != report_id(STUDY, SITE)
    assert report_id(STUDY, Site("ELSEWHERE")) != report_id(STUDY, SITE)


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


CHINESE = replace(SITE, language="zh-TW")


@pytest.mark.parametrize("name", every_state())
def test_in_chinese_only_words_differ(name: str) -> None:
    """Codes, values, references and ids are the same; the conclusion and the texts of concepts are what people read."""
    of = every_state()[name]
    english, chinese = (json.loads(bundle_of(of, site)) for site in (SITE, CHINESE))
    assert report(of, CHINESE)["language"] == "zh-TW"
    assert "language" not in report(of)
    assert disclaimer("zh-TW") in report(of, CHINESE)["conclusion"]
    assert _without_words(chinese) == _without_words(english)


def _without_words(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_words(value) for name, value in node.items() if name not in ("text", "conclusion", "language")}
    return [_without_words(item) for item in node] if isinstance(node, list) else node


def test_chinese_words() -> None:
    root, nodule, mass = resources(two_findings(), "Observation", CHINESE)
    assert root["valueCodeableConcept"]["text"] == "有"
    assert (nodule["code"]["text"], mass["code"]["text"]) == ("肺結節", "肺部腫塊")
    _, tube, _, pacemaker = resources(devices_alone(), "Observation", CHINESE)
    assert (tube["code"]["text"], pacemaker["code"]["text"]) == ("氣管內管", "心律調節器")
    (cancelled,) = resources(not_analysed(NotAnalysedReason.ORDER_CANCELLED), "Observation", CHINESE)
    assert cancelled["dataAbsentReason"]["text"] == "AI 未分析：醫囑已取消"
    marked = after_verification(findings())
    assert report(marked, CHINESE)["conclusion"].startswith("確認後：放射科醫師先前已確認報告")
    assert "確認後" in resources(marked, "Observation", CHINESE)[0]["note"][0]["text"]


def test_in_chinese_no_finding_is_cut_from_the_conclusion() -> None:
    of = every_state()["many-findings"]
    said = report(of, CHINESE)["conclusion"]
    assert said.count("肺結節") == said.count("肺部腫塊") == 6


@pytest.mark.parametrize("status", ["final", "amended", "partly"])
def test_a_status_that_is_none_or_that_no_machine_may_say_is_refused(status: str) -> None:
    """fhir.resources takes any."""
    said = report(two_findings())
    del said["resourceType"]
    assert resource_of(DiagnosticReport, said)["status"] == "partial"
    with pytest.raises(ValueError, match="DiagnosticReport.status"):
        resource_of(DiagnosticReport, said | {"status": status})


def test_a_code_deep_inside_is_checked_too() -> None:
    (said,) = resources(two_findings(), "Provenance")
    del said["resourceType"]
    said["entity"][-1]["role"] = "origin"
    with pytest.raises(ValueError, match="Provenance.entity.role"):
        resource_of(Provenance, said)


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


def test_numbers_carry_their_type_and_assigner() -> None:
    of = two_findings(subject(orders=(order(1), order(2))))
    own, *numbers = report(of)["identifier"]
    assert [number.get("use") for number in numbers] == ["official", None, None, None, None]
    assert numbers[0]["assigner"] == {"display": "RIS"}
    assert own == {"system": "urn:ietf:rfc3986", "value": f"urn:uuid:{report_id(STUDY, SITE)}"}
    ris, his = "urn:oid:1.2.826.0.1.3680043.10.511.1", "urn:radstream:assigner:HIS"
    assert [(n["type"]["coding"][0]["code"], n["system"], n["value"]) for n in numbers] == [
        ("ACSN", ris, ACCESSION.value),
        ("PLAC", his, "P1"),
        ("FILL", ris, "F1"),
        ("PLAC", his, "P2"),
        ("FILL", ris, "F2"),
    ]
    based_on = report(of)["basedOn"]
    assert {reference["type"] for reference in based_on} == {"ServiceRequest"}
    assert [(r["display"], r["identifier"]["value"]) for r in based_on] == [
        ("Order 1 of 2", ACCESSION.value),
        ("Order 1 of 2", "P1"),
        ("Order 1 of 2", "F1"),
        ("Order 2 of 2", ACCESSION.value),
        ("Order 2 of 2", "P2"),
        ("Order 2 of 2", "F2"),
    ]


@pytest.mark.parametrize(
    ("assigner", "system"),
    [
        ("RIS", "urn:oid:1.2.826.0.1.3680043.10.511.1"),
        ("HOSPITAL & Sons", "urn:radstream:assigner:HOSPITAL%20%26%20Sons"),
        ("台大", "urn:radstream:assigner:%E5%8F%B0%E5%A4%A7"),
        ("1.2.840.99", "urn:oid:1.2.840.99"),
        ("https://hospital.example/mrn", "https://hospital.example/mrn"),
        ("1.02", "urn:radstream:assigner:1.02"),
    ],
)
def test_system_of_an_assigner(assigner: str, system: str) -> None:
    assert SITE.system(assigner) == system


def test_provenance_names_model_engine_study_images_and_messages() -> None:
    (provenance,) = resources(two_findings(), "Provenance")
    assert [agent["type"]["coding"][0]["code"] for agent in provenance["agent"]] == ["author", "assembler"]
    sources = [entity["what"]["identifier"]["value"] for entity in provenance["entity"]]
    assert sources == [f"urn:oid:{STUDY}", f"urn:oid:{IMAGE}", "MSG00001"]
    assert "extension" not in provenance
    (engine,) = resources(not_analysed(NotAnalysedReason.LATE), "Provenance")[0]["agent"]
    assert engine["who"]["identifier"]["value"] == "radstream"


def test_provenance_names_the_trace_and_the_records_it_came_from() -> None:
    of = two_findings()
    origin = Origin("0af7651916cd43dd8448eb211c80319c", ("hl7.v2.raw/3/17", "ai.requests/0/4"))
    (provenance,) = resources(of, "Provenance", origin=origin)
    assert provenance["extension"] == [{"url": "urn:radstream:extension:trace-id", "valueString": origin.trace_id}]
    *_, message, request = provenance["entity"]
    assert (message["role"], message["what"]["identifier"]) == (
        "source",
        {"system": "urn:radstream:record", "value": "hl7.v2.raw/3/17"},
    )
    assert (message["what"]["display"], request["what"]["display"]) == ("HL7 v2 message as received", "Kafka record")
    others = [json.loads(bundle_of(of, SITE, one))["entry"][:-1] for one in (origin, None)]
    assert others[0] == others[1], "the origin is said in the Provenance alone"


def test_device_names_version_and_checksum() -> None:
    (device,) = resources(findings(), "Device")
    assert device["deviceName"] == [{"name": "chest-nodule", "type": "model-name"}]
    assert [version["value"] for version in device["version"]] == ["1", "a" * 64]


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


def test_the_envelope_tells_what_delivery_needs() -> None:
    of = two_findings(subject(7))
    envelope = open_bundle(bundle_of(of, SITE))
    assert (envelope.analysis_id, envelope.study_instance_uid, envelope.sequence) == (of.analysis_id, STUDY, 7)
    assert envelope.time == of.subject.triggered_at
    assert len(envelope.resources) == 6
    assert sequence_of(envelope.report) == 7
    assert sequence_of({"resourceType": "DiagnosticReport"}) == 0


@pytest.mark.parametrize(
    "old_and_new",
    [
        (b'"valuePositiveInt":1', b'"valuePositiveInt":0'),
        (b'"resourceType":"DiagnosticReport"', b'"resourceType":"Observation"'),
        (
            b'"identifier":{"system":"urn:ietf:rfc3986","value":"urn:uuid:',
            b'"identifier":{"system":"urn:ietf:rfc3986","value":"MRN',
        ),
        (b'"timestamp":"2026', b'"timestamp":"MRN'),
        (b"urn:oid:1.2.826.0.1.3680043.10.511.3.1", b"urn:oid:MRN"),
    ],
)
def test_a_bundle_that_is_not_ours_is_refused_without_a_word_of_it(old_and_new: tuple[bytes, bytes]) -> None:
    old, new = old_and_new
    value = bundle_of(findings(None, finding(1)), SITE)
    assert old in value
    with pytest.raises(ValueError, match=r"\Anot a Bundle of ai.findings\Z"):
        open_bundle(value.replace(old, new))

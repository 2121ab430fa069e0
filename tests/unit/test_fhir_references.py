"""Who is who in a FHIR Bundle: ids that must never change, numbers and their assigners, and where a report comes from."""

from __future__ import annotations

import json

import pytest

from schemas.findings import NotAnalysedReason
from schemas.identifiers import AccessionNumber, StudyInstanceUID
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.provenance import Origin
from schemas.renderings.fhir.references import Site, observation_id, report_id
from tests.contract.example_findings import (
    ACCESSION,
    IMAGE,
    MODEL,
    SITE,
    STUDY,
    findings,
    not_analysed,
    order,
    subject,
    two_findings,
)
from tests.unit.fhir_bundles import report, resources


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

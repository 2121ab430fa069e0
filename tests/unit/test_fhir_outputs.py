"""Outputs beside located findings, and reports of several services: what is said of them, and what is not claimed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, NotAnalysedReason
from schemas.outputs import Output
from schemas.renderings.fhir import codes
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.conclusion import conclusion_of
from schemas.renderings.fhir.envelope import open_bundle
from schemas.renderings.fhir.references import output_id, report_id
from tests.contract.example_findings import (
    DEVICE_CODES,
    DEVICES,
    IMAGE,
    IMAGE_2,
    SITE,
    STUDY,
    devices,
    devices_alone,
    every_state,
    finding,
    image,
    measure,
    not_analysed,
    two_findings,
)
from tests.unit.fhir_bundles import components, report, resources
from tests.unit.test_fhir_codes import verhoeff_is_valid

NODULE_AND_DEVICES = every_state()["devices-and-nodule"]


def code(observation: dict[str, Any]) -> str:
    return str(observation["code"]["coding"][0]["code"])


def answer(observation: dict[str, Any]) -> str:
    return str(observation["valueCodeableConcept"]["coding"][0]["code"])


def test_every_output_is_an_observation_in_the_cards_order() -> None:
    _, nodule, *outputs = resources(NODULE_AND_DEVICES, "Observation")
    assert code(nodule) == codes.KINDS[finding(1).kind].code
    assert [one["code"]["coding"] for one in outputs] == [[coding.model_dump()] for coding in DEVICE_CODES.values()]
    assert [answer(one) for one in outputs] == [
        codes.ABSENT.code,
        codes.PRESENT.code,
        codes.ABSENT.code,
        codes.PRESENT.code,
    ]
    assert components(outputs[1]) == {"sop-instance-uid": IMAGE, "output-value": 0.93, "output-threshold": 0.5}
    (device,) = resources(NODULE_AND_DEVICES, "Device")
    for one in outputs:
        assert one["status"] == "preliminary"
        assert one["device"]["reference"] == f"urn:uuid:{device['id']}"


def test_what_a_later_state_supersedes_and_a_provenance_targets_is_all_of_them() -> None:
    listed = [f"urn:uuid:{one['id']}" for one in resources(NODULE_AND_DEVICES, "Observation")]
    assert len(listed) == 6
    assert [result["reference"] for result in report(NODULE_AND_DEVICES)["result"]] == listed
    (provenance,) = resources(NODULE_AND_DEVICES, "Provenance")
    assert [target["reference"] for target in provenance["target"]][1:] == listed


def test_the_root_counts_nodules_and_masses_only() -> None:
    root, nodule, *_ = resources(NODULE_AND_DEVICES, "Observation")
    assert [member["reference"] for member in root["hasMember"]] == [f"urn:uuid:{nodule['id']}"]
    root, *_ = resources(every_state()["devices-and-no-nodule"], "Observation")
    assert (code(root), answer(root)) == ("nodule-or-mass-of-lung", codes.ABSENT.code)


def test_of_several_images_the_highest_counts_and_says_where() -> None:
    venous, endotracheal, nasogastric, pacemaker = resources(devices_alone(), "Observation")
    assert [components(one)["output-value"] for one in (venous, endotracheal, nasogastric, pacemaker)] == [0.3, 0.93, 0.4, 0.88]
    where = [components(one)["sop-instance-uid"] for one in (venous, endotracheal, nasogastric, pacemaker)]
    assert where == [IMAGE_2, IMAGE, IMAGE, IMAGE_2]


def test_of_two_images_that_say_the_same_the_first_is_named() -> None:
    values = devices(0.9, 0.9, 0.1, 0.1)
    of = devices_alone(images=(image(*values), image(*values, uid=IMAGE_2)))
    assert {components(one)["sop-instance-uid"] for one in resources(of, "Observation")} == {IMAGE}


def test_an_output_is_called_the_same_however_many_findings_stand_before_it() -> None:
    of = two_findings().model_copy(update={"images": NODULE_AND_DEVICES.images})
    assert of.analysis_id == NODULE_AND_DEVICES.analysis_id
    ids = [[one["id"] for one in resources(said, "Observation")[-4:]] for said in (NODULE_AND_DEVICES, of)]
    assert ids[0] == ids[1] == [str(output_id(of.analysis_id, name)) for name in DEVICE_CODES]


def test_a_measure_is_a_quantity_and_no_presence() -> None:
    (one,) = resources(every_state()["measure-alone"], "Observation")
    assert one["valueQuantity"] == {"value": 43.5, "unit": "mm", "system": codes.UCUM, "code": "mm"}
    assert components(one) == {"sop-instance-uid": IMAGE}


@pytest.mark.parametrize("name", ["devices-alone", "measure-alone", "outputs-of-the-usual-service"])
def test_a_model_that_looks_for_no_nodules_says_neither_yes_nor_no(name: str) -> None:
    of = every_state()[name]
    asked = {code(one) for one in resources(of, "Observation")}
    assert asked.isdisjoint({codes.NODULE_OR_MASS.code, *(kind.code for kind in codes.KINDS.values())})
    said = conclusion_of(of)
    assert "Nodules and masses of the lung were not looked for." in said
    assert "found no" not in said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "devices-and-nodule",
            "AI suspects 1 nodule of the lung (highest probability 0.74). AI sees: endotracheal tube (0.93), pace",
        ),
        ("devices-and-no-nodule", "AI found no nodule or mass of the lung. AI sees: endotracheal tube (0.93), pacemaker (0.88)."),
        ("devices-and-nodule", "AI does not see: central venous catheter, nasogastric tube."),
        ("measure-alone", "AI measures: tip to carina 43.5 mm."),
        ("devices-alone", "Report of the AI service chest-radiograph-devices. AI sees: endotracheal tube (0.93), pacemaker (0.88)"),
        ("not-analysed-by-another-service", "Report of the AI service chest-radiograph-devices. Not analysed by AI: the view is"),
    ],
)
def test_the_words(name: str, words: str) -> None:
    assert words in report(every_state()[name])["conclusion"]


def test_nothing_seen_and_all_seen() -> None:
    none, all_of_them = (devices_alone(images=(image(*devices(*[value] * 4)),)) for value in (0.1, 0.5))
    assert "AI sees" not in conclusion_of(none)
    assert "AI does not see: central venous catheter, endotracheal tube, nasogastric tube, pacemaker." in conclusion_of(none)
    assert "AI does not see" not in conclusion_of(all_of_them)


def test_each_service_has_a_report_of_its_own() -> None:
    usual, beside = two_findings(), devices_alone()
    assert report(usual)["id"] == str(report_id(STUDY, SITE)) == str(report_id(STUDY, SITE, CHEST_RADIOGRAPH_FINDINGS))
    assert report(beside)["id"] == str(report_id(STUDY, SITE, DEVICES)) != report(usual)["id"]
    assert [open_bundle(bundle_of(of, SITE)).service for of in (usual, beside)] == [CHEST_RADIOGRAPH_FINDINGS, DEVICES]
    assert "urn:radstream:extension:service" not in [extension["url"] for extension in report(usual)["extension"]]


def test_two_services_that_answer_one_request_share_no_resource_but_the_device() -> None:
    usual, beside = two_findings(), devices_alone()
    ids = [{resource["id"] for resource in open_bundle(bundle_of(of, SITE)).resources} for of in (usual, beside)]
    assert ids[0] & ids[1] == {device["id"] for device in resources(usual, "Device")}


def test_what_another_service_did_not_analyse_is_no_question_of_nodules() -> None:
    (root,) = resources(not_analysed(NotAnalysedReason.WRONG_VIEW, service=DEVICES), "Observation")
    assert code(root) == codes.ANALYSIS.code
    assert [coding["code"] for coding in root["dataAbsentReason"]["coding"]] == ["not-performed", "wrong-view"]


@pytest.mark.parametrize("service", [b'""', b'"fhir#x"', b'"MRN 4711"', b"7", b"null"])
def test_a_service_of_no_name_is_refused(service: bytes) -> None:
    value = bundle_of(devices_alone(), SITE)
    assert value.count(b'"valueCode":"chest-radiograph-devices"') == 1
    with pytest.raises(ValueError, match=r"\Anot a Bundle of ai.findings\Z"):
        open_bundle(value.replace(b'"valueCode":"chest-radiograph-devices"', b'"valueCode":' + service))


def test_the_codes_of_the_examples_have_no_typing_error() -> None:
    assert all(verhoeff_is_valid(coding.code) for coding in DEVICE_CODES.values())


_numbers = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)


@given(values=st.lists(st.tuples(_numbers, st.none() | _numbers), min_size=1, max_size=12))
def test_any_number_of_outputs_survives_to_the_last_bit(values: list[tuple[float, float | None]]) -> None:
    outputs = tuple(
        Output(name=f"output-{number}", coding=measure().coding, value=value, unit="mm", threshold=threshold)
        for number, (value, threshold) in enumerate(values)
    )
    of = devices_alone(images=(image(*outputs),))
    said = resources(Findings.model_validate_json(of.model_dump_json()), "Observation")
    assert len({one["id"] for one in said}) == len(values)
    for one, (value, threshold) in zip(said, values, strict=True):
        if threshold is None:
            assert one["valueQuantity"]["value"] == value
        else:
            assert (components(one)["output-value"], components(one)["output-threshold"]) == (value, threshold)
            assert answer(one) == (codes.PRESENT.code if value >= threshold else codes.ABSENT.code)

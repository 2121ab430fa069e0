"""Codes of cards: known systems, right check digits, words; units of UCUM."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.coding import DCM, LOINC, RADLEX, SNOMED_CT, UNITS, CheckedCoding, Unit
from schemas.outputs import Coding

CODING: TypeAdapter[Coding] = TypeAdapter(CheckedCoding)
UNIT: TypeAdapter[str] = TypeAdapter(Unit)


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (SNOMED_CT, "52124006"),  # central venous catheter, PS3.16 CID 74
        (SNOMED_CT, "14106009"),  # cardiac pacemaker, PS3.16 CID 6404
        (SNOMED_CT, "900000000000207008"),  # core module
        (LOINC, "18748-4"),  # diagnostic imaging study
        (LOINC, "36643-5"),  # XR chest 2 views
        (RADLEX, "RID5352"),
        (DCM, "112174"),  # central line, PS3.16 CID 6404
        ("urn:hospital:codes", "whatever"),
    ],
)
def test_a_code_that_can_be(system: str, code: str) -> None:
    assert CODING.validate_python({"system": system, "code": code, "display": "x"}) == Coding(system=system, code=code, display="x")


@pytest.mark.parametrize("wrong", [f"5212400{digit}" for digit in "01234578 9".replace(" ", "")])
def test_snomed_ct_with_a_mistyped_last_digit(wrong: str) -> None:
    with pytest.raises(ValidationError, match="check digit is wrong"):
        CODING.validate_python({"system": SNOMED_CT, "code": wrong, "display": "x"})


def test_snomed_ct_with_two_neighbours_exchanged() -> None:
    right = "786838002"
    for at in range(1, len(right) - 4):
        wrong = right[:at] + right[at + 1] + right[at] + right[at + 2 :]
        if wrong != right:
            with pytest.raises(ValidationError, match="check digit"):
                CODING.validate_python({"system": SNOMED_CT, "code": wrong, "display": "x"})


@pytest.mark.parametrize("digit", "012356789")
def test_loinc_with_a_wrong_check_digit(digit: str) -> None:
    with pytest.raises(ValidationError, match="check digit"):
        CODING.validate_python({"system": LOINC, "code": f"18748-{digit}", "display": "x"})


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (SNOMED_CT, "RID5352"),
        (SNOMED_CT, "2164013"),  # a description, not a concept
        (SNOMED_CT, "052124006"),
        (LOINC, "18748"),
        (RADLEX, "5352"),
        (DCM, "CENTRAL"),
        ("urn:hospital:codes", ""),
    ],
)
def test_a_code_of_another_look(system: str, code: str) -> None:
    with pytest.raises(ValidationError) as raised:
        CODING.validate_python({"system": system, "code": code, "display": "x"})
    assert [(error["loc"], "looks like this" in error["msg"]) for error in raised.value.errors()] == [(("code",), True)]


@pytest.mark.parametrize("system", ["SNOMED CT", "http://hospital.example/codes", "", "urn:"])
def test_an_unknown_system_is_told_which_there_are(system: str) -> None:
    with pytest.raises(ValidationError, match=r"unknown code system; known are http://snomed.info/sct, .* your own urn:"):
        CODING.validate_python({"system": system, "code": "1", "display": "x"})


def test_a_code_without_words() -> None:
    with pytest.raises(ValidationError, match="needs words"):
        CODING.validate_python({"system": SNOMED_CT, "code": "52124006", "display": " "})


def test_units() -> None:
    assert [UNIT.validate_python(unit) for unit in UNITS] == list(UNITS)
    with pytest.raises(ValidationError, match="unknown unit; known \\(UCUM\\) are 1 % mm"):
        UNIT.validate_python("millimetres")

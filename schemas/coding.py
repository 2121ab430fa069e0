"""Codes and units that a model's card may use: of terminologies a receiver knows, with right check digits."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo, field_validator

from schemas.outputs import Coding

SNOMED_CT = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RADLEX = "http://radlex.org"
#: PS3.16 Annex D
DCM = "http://dicom.nema.org/resources/ontology/DCM"

#: UCUM, case sensitive: what a number of a model about an image may be
UNITS = ("1", "%", "mm", "cm", "mm2", "cm2", "mL", "deg", "a", "mo", "[hnsf'U]", "{score}")

#: how a code looks. A SNOMED CT concept has partition 00 or 10 before its check digit (SNOMED CT Release File Specification, 6)
_FORMS = {
    SNOMED_CT: r"[1-9][0-9]{2,14}[01]0[0-9]",
    LOINC: r"[1-9][0-9]{0,6}-[0-9]",
    RADLEX: r"RID[1-9][0-9]*",
    DCM: r"[1-9][0-9]{5}",
}
_URN = re.compile(r"urn:[a-z0-9][a-z0-9-]{1,31}:\S+", re.IGNORECASE)  # RFC 8141
_VERHOEFF = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def _verhoeff(digits: str) -> bool:
    """SNOMED CT Release File Specification, appendix "Check-digit computation": the sum in the dihedral group of the pentagon."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        turned = int(digit)
        for _ in range(place % 8):
            turned = _VERHOEFF[turned]
        total = _product(total, turned)
    return total == 0


def _product(a: int, b: int) -> int:
    turn = a % 5 + b % 5 if a < 5 else a % 5 - b % 5
    return turn % 5 + (5 if (a < 5) != (b < 5) else 0)


def _mod_10(code: str) -> bool:
    """LOINC Users' Guide, appendix "Calculating Mod 10 check digits" (Luhn)."""
    digits = [int(digit) for digit in reversed(code.replace("-", ""))]
    return sum(digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(digits)) % 10 == 0


_CHECK_DIGITS = {SNOMED_CT: _verhoeff, LOINC: _mod_10}


class _Checked(Coding):
    @field_validator("system")
    @classmethod
    def _known(cls, system: str) -> str:
        if system not in _FORMS and not _URN.fullmatch(system):
            raise ValueError(f"unknown code system; known are {', '.join(_FORMS)} and your own urn:")
        return system

    @field_validator("code")
    @classmethod
    def _right(cls, code: str, info: ValidationInfo) -> str:
        system = info.data.get("system")
        if not re.fullmatch(_FORMS.get(system or "", r"\S+"), code):
            raise ValueError(f"no code of {system or 'that system'} looks like this")
        if system in _CHECK_DIGITS and not _CHECK_DIGITS[system](code):
            raise ValueError("the check digit is wrong: a digit was mistyped")
        return code

    @field_validator("display")
    @classmethod
    def _said(cls, display: str) -> str:
        if not display.strip():
            raise ValueError("a code needs words")
        return display


def _checked(coding: Coding) -> Coding:
    _Checked.model_validate(coding.model_dump())
    return coding


def _ucum(unit: str) -> str:
    if unit not in UNITS:
        raise ValueError(f"unknown unit; known (UCUM) are {' '.join(UNITS)}")
    return unit


#: as a card writes them; a result that was written under another list is read all the same
CheckedCoding = Annotated[Coding, AfterValidator(_checked)]
Unit = Annotated[str, AfterValidator(_ucum)]

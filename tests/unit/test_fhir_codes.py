"""Codes: every kind and every reason has one, and no SNOMED CT identifier has a typing error."""

from __future__ import annotations

import pytest

from schemas.findings import FindingKind, NotAnalysedReason
from schemas.renderings.fhir import codes

ALL = [value for value in vars(codes).values() if isinstance(value, codes.Code)]
ALL += [*codes.KINDS.values(), *codes.NOT_ANALYSED.values(), *codes.PLANES.values()]
ALL += [code for others in codes.OTHER_CODES.values() for code in others]

#: the dihedral group D5 and the permutation, row by row
_D = [
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
]  # fmt: skip
_P = ["0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258"]


def verhoeff_is_valid(number: str) -> bool:
    """SNOMED CT Release File Specification, 'SCTID check-digit'."""
    check = 0
    for position, digit in enumerate(reversed(number)):
        check = int(_D[check][int(_P[position % 8][int(digit)])])
    return check == 0


def loinc_is_valid(code: str) -> bool:
    """LOINC Users' Guide, appendix C: the check digit is modulus 10."""
    number, _, check = code.partition("-")
    odd, even = number[::-1][0::2], number[::-1][1::2]
    total = sum(int(d) for d in even) + sum(sum(map(int, str(int(d) * 2))) for d in odd)
    return (10 - total % 10) % 10 == int(check)


def test_every_kind_and_reason_has_a_code() -> None:
    assert set(codes.KINDS) == set(codes.OTHER_CODES) == set(FindingKind)
    assert set(codes.NOT_ANALYSED) == set(NotAnalysedReason)


@pytest.mark.parametrize("code", [code for code in ALL if code.system == codes.SNOMED_CT], ids=lambda code: code.code)
def test_snomed_ct_check_digit(code: codes.Code) -> None:
    assert verhoeff_is_valid(code.code)
    wrong = str((int(code.code[0]) % 9) + 1) + code.code[1:]
    assert not verhoeff_is_valid(wrong)


@pytest.mark.parametrize("code", [code for code in ALL if code.system == codes.LOINC], ids=lambda code: code.code)
def test_loinc_check_digit(code: codes.Code) -> None:
    assert loinc_is_valid(code.code)
    assert loinc_is_valid("36643-5")  # XR Chest 2 Views
    assert not loinc_is_valid("18749-4")


def test_not_the_solitary_nodule() -> None:
    """427359005 means that there is one nodule only: no model of ours says that."""
    assert "427359005" not in {code.code for code in ALL}


def test_no_two_codes_of_ours_share_a_name() -> None:
    names = [(code.system, code.code) for code in ALL]
    assert len(names) == len(set(names))

"""The codes of DICOM objects against dictionaries and rules that are not ours."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from schemas.coding import SNOMED_CT, CheckedCoding
from schemas.findings import WITHDRAWING, FindingKind, NotAnalysedReason, Presence
from schemas.outputs import Coding
from schemas.renderings.dicom import codes
from schemas.renderings.fhir import codes as fhir

_PLAIN = [code for code in vars(codes).values() if isinstance(code, Code)]
_OTHERS = [other for others in codes.OTHER_CODES.values() for other in others]
_ALL = [*_PLAIN, *codes.KINDS.values(), *_OTHERS, *codes.PLANES.values(), *codes.ANSWERS.values(), *codes.LANGUAGES.values()]


def _entries(code: Code) -> list[tuple[str, list[int]]]:
    """Meanings and context groups of a code."""
    entries: Any = concepts[code.scheme_designator]
    return [entry[code.value] for entry in entries.values() if code.value in entry]


@pytest.mark.parametrize("code", [code for code in _ALL if code.scheme_designator == "DCM"], ids=lambda code: code.value)
def test_dicoms_codes_mean_what_the_standard_says(code: Code) -> None:
    """pydicom's dictionary is generated from PS3.16."""
    assert {meaning for meaning, _ in _entries(code)} == {code.meaning}


@pytest.mark.parametrize("code", [code for code in _ALL if code.scheme_designator == "SCT"], ids=lambda code: code.value)
def test_snomeds_codes_have_right_check_digits(code: Code) -> None:
    TypeAdapter(CheckedCoding).validate_python({"system": SNOMED_CT, "code": code.value, "display": code.meaning})


@pytest.mark.parametrize(
    "code", [code for code in _ALL if code.scheme_designator == "SCT" and _entries(code)], ids=lambda code: code.value
)
def test_snomeds_codes_mean_what_dicom_takes_them_for(code: Code) -> None:
    """Those that PS3.16 uses; some it writes with their semantic tag."""
    meanings = {meaning.removesuffix(" (attribute)").casefold() for meaning, _ in _entries(code)}
    assert code.meaning.casefold() in meanings


@pytest.mark.parametrize("answer", ["present", "absent"])
def test_answers_are_of_cid_240(answer: Presence) -> None:
    assert any(240 in groups for _, groups in _entries(codes.ANSWERS[answer]))


def test_kinds_have_the_codes_of_fhir() -> None:
    for kind in FindingKind:
        assert codes.KINDS[kind].value == fhir.KINDS[kind].code
        assert [other.value for other in codes.OTHER_CODES[kind]] == [other.code for other in fhir.OTHER_CODES[kind]]
    assert codes.ANSWERS["indeterminate"].value == fhir.INDETERMINATE.code


@pytest.mark.parametrize("code", _ALL, ids=lambda code: code.value)
def test_codes_fit_their_attributes(code: Code) -> None:
    """SH and LO (PS3.5 6.2)."""
    assert len(code.value) <= 16 and len(code.scheme_designator) <= 16 and len(code.meaning) <= 64


def test_own_codes_are_each_one_concept() -> None:
    own = [code.value for code in _ALL if code.scheme_designator == codes.OWN]
    assert len(own) == len(set(own)) > 5


def test_a_cards_own_system_gets_a_private_designator_that_is_explained() -> None:
    coding = Coding(system="urn:example:codes", code="tip-to-carina", display="Tip\\to\ncarina" + "x" * 100)
    written = codes.concept(coding)
    assert written.scheme_designator.startswith("99") and len(written.scheme_designator) <= 16
    assert written.meaning.startswith("Tip to carina") and len(written.meaning) == 64
    named = {item.CodingSchemeDesignator: item.CodingSchemeName for item in codes.coding_schemes((coding,))}
    assert named == {codes.OWN: "urn:radstream:codesystem:dicom", written.scheme_designator: "urn:example:codes"}
    assert codes.designator("urn:example:others") != written.scheme_designator


@pytest.mark.parametrize("reason", NotAnalysedReason)
def test_what_must_not_stand_is_never_left_visible(reason: NotAnalysedReason) -> None:
    title = codes.rejection_title(reason)
    assert (title.value == "113001") == (reason not in WITHDRAWING)
    assert (title.value == "113038") == (reason is NotAnalysedReason.IDENTITY_MISMATCH)

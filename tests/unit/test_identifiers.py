"""Invalid identifiers cannot exist; identities are the same for ever."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from schemas.identifiers import NAMESPACE, AccessionNumber, PatientIdentifier, StudyInstanceUID, identity, identity_text


@pytest.mark.parametrize("wrong", ["", "1..2", "01.2", "1.02", "1.2.", ".1", "1.2a", "1." + "2" * 63, "1.2\n"])
def test_a_broken_uid_cannot_exist(wrong: str) -> None:
    with pytest.raises(ValueError, match="PS3.5 section 9.1"):
        StudyInstanceUID(wrong)


def test_a_uid_is_a_string_and_survives_json() -> None:
    class Shape(BaseModel):
        uid: StudyInstanceUID

    shape = Shape.model_validate_json('{"uid":"1.2.840.0.1"}')
    assert isinstance(shape.uid, StudyInstanceUID)
    assert shape.uid == "1.2.840.0.1"
    assert shape.model_dump_json() == '{"uid":"1.2.840.0.1"}'
    with pytest.raises(ValidationError):
        Shape.model_validate_json('{"uid":"1..2"}')


def test_a_number_needs_its_assigner() -> None:
    with pytest.raises(ValidationError):
        AccessionNumber(value="A1", assigner=" ")
    assert str(AccessionNumber(value=" A1 ", assigner="RIS")) == "A1^RIS"


def test_a_patient_identifier_never_shows_itself() -> None:
    patient = PatientIdentifier(value="MRN-4711", assigner="HIS")
    assert "4711" not in f"{patient} {patient!r} {[patient]}"
    with pytest.raises(ValidationError) as caught:
        PatientIdentifier.model_validate({"value": "MRN-4711", "assigner": "HIS", "name": "Chen"})
    assert "Chen" not in str(caught.value)


def test_identities_are_promises_to_the_outside() -> None:
    #: computed once; if this fails, every report ever delivered gets a second one
    assert str(identity("diagnostic-report", "RIS", "1.2.3")) == "e8c3de44-0f38-5d1e-b216-b138139f68c1"


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_no_two_lists_of_parts_share_an_identity(one: list[str], other: list[str]) -> None:
    assert (identity("x", *one) == identity("x", *other)) == (one == other)


@given(st.text(), st.lists(st.text()))
def test_an_identity_is_the_uuid5_of_its_lengths_and_parts(kind: str, parts: list[str]) -> None:
    name = kind + "".join(f"|{len(part)}:{part}" for part in parts)
    assert identity(kind, *parts) == uuid.uuid5(NAMESPACE, name)
    assert identity_text(kind, *parts) == str(uuid.uuid5(NAMESPACE, name))

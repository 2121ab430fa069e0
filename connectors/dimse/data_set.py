"""Reading data sets of a peer that may send anything: values as they stand, sequences as lists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset

from schemas.errors import MalformedMessage, MissingIdentifier, Rejected
from schemas.identifiers import AccessionNumber, SOPInstanceUID, StudyInstanceUID

#: PS3.6
_ACCESSION_NUMBER = 0x00080050
_ISSUER_OF_ACCESSION_NUMBER = 0x00080051
_REFERENCED_SOP_INSTANCE_UID = 0x00081155
_STUDY_INSTANCE_UID = 0x0020000D
_LOCAL_NAMESPACE = 0x00400031
_UNIVERSAL_ENTITY_ID = 0x00400032

_Kind = TypeVar("_Kind", StudyInstanceUID, SOPInstanceUID)


@contextmanager
def reading(step: str, reference: str) -> Iterator[None]:
    """Whatever comes out of it is one of ours. Raises MalformedMessage."""
    try:
        yield
    except Rejected as error:
        raise type(error)(step, reference, error.reason) from None
    except Exception as error:  # noqa: BLE001 - whatever the peer's bytes provoke in pydicom
        raise MalformedMessage(step, reference, f"the data set cannot be read ({type(error).__name__})") from None


def text(data_set: Dataset, tag: int) -> str:
    """The first value without padding; "" where absent or empty. It is not converted: pydicom quotes what it finds wrong."""
    element = data_set.get_item(tag)
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace").split("\\")
    if isinstance(value, str):
        value = [value]
    return str(value[0]).strip(" \0") if value else ""


def items(data_set: Dataset, tag: int) -> list[Dataset]:
    """Raises MalformedMessage when it is no sequence."""
    element = data_set.get(tag)
    if element is None or not element.value:
        return []
    if element.VR != "SQ":
        raise MalformedMessage("read", "data set", f"{dictionary_description(tag)} is no sequence")
    return list(element.value)


def study_of(data_set: Dataset) -> StudyInstanceUID:
    """Raises MissingIdentifier, MalformedMessage."""
    return _uid(StudyInstanceUID, data_set, _STUDY_INSTANCE_UID)


def instance_of(reference: Dataset) -> SOPInstanceUID:
    """Of an item of a Referenced ... Sequence. Raises MissingIdentifier, MalformedMessage."""
    return _uid(SOPInstanceUID, reference, _REFERENCED_SOP_INSTANCE_UID)


def _uid(kind: type[_Kind], data_set: Dataset, tag: int) -> _Kind:
    found = text(data_set, tag)
    if not found:
        raise MissingIdentifier("read", "data set", f"{dictionary_description(tag)} is missing")
    try:
        return kind(found)
    except ValueError:
        raise MalformedMessage("read", "data set", f"{dictionary_description(tag)} is no UID") from None


def accession_number_of(data_set: Dataset, default_assigner: str) -> AccessionNumber | None:
    """None also for one beyond ASCII: it goes with a Study Instance UID, which names more."""
    number = text(data_set, _ACCESSION_NUMBER)
    if not number or not number.isascii():
        return None
    issuers = items(data_set, _ISSUER_OF_ACCESSION_NUMBER)
    #: HL7v2 Hierarchic Designator Macro, PS3.3 table 10-17: the local namespace first, as EI.2 does
    issuer = (text(issuers[0], _LOCAL_NAMESPACE) or text(issuers[0], _UNIVERSAL_ENTITY_ID)) if issuers else ""
    return AccessionNumber(value=number, assigner=issuer or default_assigner)

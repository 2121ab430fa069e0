"""Rejection notes (IHE RAD, Imaging Object Change Management): key object selections that take instances out of use."""

from __future__ import annotations

from typing import Any

from connectors.dicom_json import items, text, values
from schemas.identifiers import SOPInstanceUID, StudyInstanceUID

#: SOP class of Key Object Selection Documents
KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"

#: Document titles (PS3.16 CID 7010) that say something is wrong with what they name: Rejected for Quality Reasons, Rejected for
#: Patient Safety Reasons, Incorrect Modality Worklist Entry. Not 113039, Data Retention Policy Expired: nothing was wrong.
_REJECTING = frozenset({"113001", "113037", "113038"})

#: PS3.6 tags, as PS3.18 F.2 writes them
_CODE_VALUE = "00080100"
_CODING_SCHEME_DESIGNATOR = "00080102"
_REFERENCED_SERIES_SEQUENCE = "00081115"
_REFERENCED_SOP_INSTANCE_UID = "00081155"
_REFERENCED_SOP_SEQUENCE = "00081199"
_STUDY_INSTANCE_UID = "0020000D"
_CONCEPT_NAME_CODE_SEQUENCE = "0040A043"
_CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE = "0040A375"


def rejected_by(key_object: dict[str, Any], study: StudyInstanceUID) -> frozenset[SOPInstanceUID]:
    """The instances of `study` that a key object selection (DICOM JSON) takes out of use: none when it is no rejection note, or
    rejects instances of other studies only. Raises ValueError when it does not tell."""
    title = _items(key_object, _CONCEPT_NAME_CODE_SEQUENCE)[0]
    scheme, code = text(title, _CODING_SCHEME_DESIGNATOR), text(title, _CODE_VALUE)
    if scheme is None or code is None:
        raise ValueError("a key object selection without a title")
    if scheme != "DCM" or code not in _REJECTING:
        return frozenset()
    return frozenset(
        SOPInstanceUID(text(instance, _REFERENCED_SOP_INSTANCE_UID) or "")
        for of_study in _items(key_object, _CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE)
        if StudyInstanceUID(text(of_study, _STUDY_INSTANCE_UID) or "") == study
        for series in _items(of_study, _REFERENCED_SERIES_SEQUENCE)
        for instance in _items(series, _REFERENCED_SOP_SEQUENCE)
    )


def _items(item: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    """Of a sequence that the standard requires (PS3.3 C.17.2, C.17.3, C.17.6.2)."""
    found = items(item, tag)
    if not found or len(found) != len(values(item, tag)):
        raise ValueError("a required sequence is empty or broken")
    return found

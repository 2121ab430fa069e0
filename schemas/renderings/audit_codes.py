"""What audit repositories call the things that are done here, in FHIR and in DICOM alike. Only where DICOM has no code it is one of
ISO/TS 21089, which FHIR's value set audit-event-type holds too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from schemas.renderings.audited import Audited, Deed


class Coded(NamedTuple):
    """`scheme`: the code system as FHIR (URI) names it, `name` as a DICOM audit message does."""

    scheme: str
    name: str
    code: str
    meaning: str


def dcm(code: str, meaning: str) -> Coded:
    """PS3.16, annex D."""
    return Coded("http://dicom.nema.org/resources/ontology/DCM", "DCM", code, meaning)


def _lifecycle(code: str, meaning: str) -> Coded:
    """ISO/TS 21089:2018, the events in the life of a record."""
    return Coded("http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle", "ISO21089", code, f"{meaning} Record Lifecycle Event")


@dataclass(frozen=True, slots=True)
class Kind:
    """`event`: PS3.15 EventID, AuditEvent.type; `types`: EventTypeCode, AuditEvent.subtype. `action`: create, read, update, delete,
    execute."""

    event: Coded
    action: Literal["C", "R", "U", "D", "E"]
    types: tuple[Coded, ...] = ()


#: PS3.15 A.5.3.12: what changes how the software works is a security alert
_SOFTWARE = Kind(dcm("110113", "Security Alert"), "E", (dcm("110131", "Software Configuration"),))
_STARTED, _ENDED = dcm("110120", "Application Start"), dcm("110121", "Application Stop")

_KINDS: Mapping[Deed, Kind] = {
    Deed.LOOKED: Kind(dcm("110110", "Patient Record"), "R"),
    Deed.AUDIT_EXPORTED: Kind(dcm("110101", "Audit Log Used"), "R"),
    Deed.LETTER_RESENT: Kind(_lifecycle("reactivate", "Re-activate"), "E"),
    Deed.LETTER_DISCARDED: Kind(_lifecycle("deprecate", "Deprecate"), "U"),
    Deed.REPLAY_BEGUN: Kind(dcm("110100", "Application Activity"), "E"),
    Deed.REPLAY_REMOVED: Kind(_lifecycle("destroy", "Destroy/Delete"), "D"),
    Deed.REPLAY_PUBLISHED: Kind(_lifecycle("amend", "Amend (Update)"), "U"),
    Deed.SETTINGS_CHANGED: _SOFTWARE,
    Deed.MODEL_CHANGED: _SOFTWARE,
    Deed.DISCREPANCY_ACKNOWLEDGED: Kind(_lifecycle("attest", "Attest"), "U"),
    Deed.DELIVERED: Kind(dcm("110106", "Export"), "R"),
    Deed.NOT_FINISHED: Kind(_lifecycle("transform", "Transform/Translate"), "E"),
    Deed.OTHER: Kind(_lifecycle("access", "Access/View"), "E"),
}

# -- who took part (PS3.16 CID 402) --------------------------------------------------------------------------------

APPLICATION = dcm("110150", "Application")
DESTINATION = dcm("110152", "Destination Role ID")
SOURCE = dcm("110153", "Source Role ID")


def kind_of(one: Audited) -> Kind:
    """Of what was done."""
    kind = _KINDS[one.deed]
    if one.deed is Deed.REPLAY_BEGUN:
        return Kind(kind.event, kind.action, (_STARTED if one.outcome == "begun" else _ENDED,))
    if one.deed is Deed.REPLAY_REMOVED and one.outcome == "begun":  # nothing is destroyed yet, and it may fail
        return Kind(_KINDS[Deed.REPLAY_BEGUN].event, "E", (_STARTED,))
    return kind


def outcome_of(one: Audited) -> Literal["0", "4", "8"]:
    """PS3.15 EventOutcomeIndicator, and FHIR's audit-event-outcome: 0 success, 4 minor failure (of a delivery that was not needed
    any more), 8 serious failure."""
    if one.outcome != "failed":
        return "0"
    return "4" if one.deed is Deed.DELIVERED else "8"

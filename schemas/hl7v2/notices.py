"""Order and result messages -> notices of studies: a procedure was done, or its images are said to be available."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.hl7v2.groups import Group
from schemas.hl7v2.identification import Reception
from schemas.identifiers import AccessionNumber
from schemas.notices import StudyNoticed

#: ORC-1, table 0119: results of earlier orders, sent along for the reader
_PREVIOUS = "PR"
#: ORC-5, table 0038 (v2.5.1 4.5.1.5): the order is completed; it was cancelled or discontinued
_COMPLETED = "CM"
_ENDED = frozenset({"CA", "DC"})
#: OBR-25, table 0123 (v2.5.1 4.5.3.25): some, preliminary, unverified, final or corrected results; nobody reports what was not
#: done. O, I and S come before it; X, Y and Z say that it never was
_DONE = frozenset({"A", "P", "R", "F", "C"})
#: OBX-3 of the orders that the OpenMRS PACS integration takes: OBX-5 is 1 when there are images
_IMAGES_AVAILABLE = "ImagesAvailable"


def notices(reception: Reception) -> Sequence[StudyNoticed]:
    """One for each study or accession number. Raises MalformedMessage for a number that did not decode."""
    found: dict[str, StudyNoticed] = {}
    for ordinal, group in enumerate(reception.groups, 1):
        reason = _reason(reception, group)
        notice = _notice(reception, ordinal, group, reason) if reason else None
        if notice is not None:
            found.setdefault(notice.key, notice)
    return list(found.values())


def _reason(reception: Reception, group: Group) -> str:
    """Why this group gives a notice; "" when it does not. It refuses no message: half a code is in none of the sets."""
    orc, obr = group.orc, group.obr
    control, status = (orc.value(1).upper(), orc.value(5).upper()) if orc is not None else ("", "")
    if group.ours or control == _PREVIOUS or status in _ENDED:
        return ""
    if any(_IMAGES_AVAILABLE in one.line and one.value(3) == _IMAGES_AVAILABLE and one.value(5) == "1" for one in group.following):
        return "images-available"
    if status == _COMPLETED:
        return "orc-5"
    result = obr.value(25) if obr is not None else ""
    return "obr-25" if result and reception.habits.result_code(result) in _DONE else ""


def _notice(reception: Reception, ordinal: int, group: Group, reason: str) -> StudyNoticed | None:
    study = reception.study(group)
    site = reception.habits
    number = None
    if study is None:
        number = reception.entity(AccessionNumber, group, site.accession_number, site.issuer_of_accession_number)
        if number is None:
            return None
    return StudyNoticed(
        id=reception.event_id("study-noticed", ordinal),
        time=reception.received_at,
        source=f"hl7:{reason}",
        study_instance_uid=study,
        accession_number=number,
        hint=True,
    )

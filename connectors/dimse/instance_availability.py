"""Instance Availability Notification (PS3.4 annex R): an archive says which instances can be had, and which no more."""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset

from connectors.dimse.data_set import instance_of, items, study_of, text
from schemas.errors import MalformedMessage, MissingIdentifier
from schemas.identifiers import SOPInstanceUID, identity
from schemas.notices import StudyNoticed

SOP_CLASS_UID = "1.2.840.10008.5.1.4.33"
SOURCE = "dicom:ian"

#: PS3.6, PS3.4 table R.3.2-1
_INSTANCE_AVAILABILITY = 0x00080056
_REFERENCED_SERIES_SEQUENCE = 0x00081115
_REFERENCED_SOP_SEQUENCE = 0x00081199

#: PS3.3 C.4.23.1.1: what can be fetched (from a tape, later), and what cannot
_THERE, _GONE = ("ONLINE", "NEARLINE"), ("OFFLINE", "UNAVAILABLE")


def notice_of(data_set: Dataset, sop_instance_uid: SOPInstanceUID, time: datetime) -> StudyNoticed:
    """The same notification is the same notice. Who sent the images it does not say: the caller is the archive.
    Raises MissingIdentifier, MalformedMessage."""
    study = study_of(data_set)
    there, gone = [], False
    for series in items(data_set, _REFERENCED_SERIES_SEQUENCE):
        for reference in items(series, _REFERENCED_SOP_SEQUENCE):
            match text(reference, _INSTANCE_AVAILABILITY):
                case availability if availability in _THERE:
                    there.append(instance_of(reference))
                case availability if availability in _GONE:
                    gone = True
                case "":
                    raise MissingIdentifier("read", "data set", "Instance Availability is missing")
                case _:
                    raise MalformedMessage("read", "data set", "Instance Availability has a value that is not known")
    if not (there or gone):
        raise MissingIdentifier("read", "data set", "Referenced SOP Sequence names no instance")
    return StudyNoticed(
        id=identity("noticed", SOURCE, sop_instance_uid),
        time=time,
        source=SOURCE,
        source_position=sop_instance_uid,
        study_instance_uid=study,
        removed=gone,
        instances=tuple(there),
    )

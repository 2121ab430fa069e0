"""What every instance of ours says of its patient, its study and its maker, and how it becomes bytes: the same ones every time."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from io import BytesIO
from typing import Any

from pydicom import DataElement, Dataset, FileMetaDataset, config, dcmwrite
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM, validate_value

from schemas.findings import Findings
from schemas.identifiers import identity
from schemas.renderings.dicom.document import Document
from schemas.renderings.dicom.evidence import TYPE_2, TYPE_3, Evidence
from schemas.study_events import ImageReference

#: what a VR alone does not say: enumerated values of (0010,0040); (0008,0201), as PS3.3 C.12.1 writes it
_FORMS = {"PatientSex": re.compile("[MFO]"), "TimezoneOffsetFromUTC": re.compile("[+-](0[0-9]|1[0-4])[0-5][0-9]")}
_READ = {"DA": DA, "TM": TM}

#: LO, PS3.5 6.2
_LONG_STRING = 64
#: whoever lists series must not take one for a radiologist's report
MANUFACTURER = "radstream (AI, demonstration)"
MODEL_NAME = "AI, not a medical device"
#: far from the numbers that modalities give
_SERIES_NUMBERS = {"SR": 9701, "KO": 9702}
_IMPLEMENTATION = UID(f"2.25.{identity('dicom-implementation').int}")


def header(evidence: Evidence) -> Dataset:
    """What the archive holds, in UTF-8, as it is: with another Patient ID it would be another study. What is no date, time or sex
    is left empty."""
    kept = Dataset()
    for keyword in (*TYPE_2, *TYPE_3):
        vr = dictionary_VR(keyword)
        value = _text(evidence.header.get(keyword))
        if keyword in _FORMS and not _FORMS[keyword].fullmatch(value):
            value = ""
        if vr in _READ and not _readable(value, vr):
            value = ""
        if value or keyword in TYPE_2:
            # not by name: then pydicom warns of what breaks its VR, and quotes it
            kept.add(DataElement(Tag(keyword), vr, value, validation_mode=config.IGNORE))
    return kept


def _text(value: Any) -> str:
    """Of one value or, where an archive holds several, of all."""
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "")


def _readable(value: str, vr: str) -> bool:
    try:
        validate_value(vr, value, config.RAISE)
        return bool(_READ[vr](value))
    except ValueError:
        return False


def referenced(findings: Findings, instance: Document | ImageReference) -> Dataset:
    """An instance of the same study as highdicom wants to be told of it (PS3.3 table C.17-3, Hierarchical SOP Instance
    Reference Macro). Of whom it is `part10` says: highdicom logs names."""
    reference = Dataset()
    for keyword in TYPE_2:
        setattr(reference, keyword, "")
    reference.StudyInstanceUID = str(findings.subject.study_instance_uid)
    reference.SeriesInstanceUID = instance.series_instance_uid
    reference.SOPClassUID = instance.sop_class_uid
    reference.SOPInstanceUID = instance.sop_instance_uid
    return reference


def series(modality: str, description: str, document: Document, findings: Findings) -> dict[str, Any]:
    """Arguments of a document of highdicom: which instance of which series it is, and that a machine made it."""
    return {
        "series_instance_uid": document.series_instance_uid,
        "series_number": _SERIES_NUMBERS[modality],
        # the same in all instances of a series (PS3.3 A.1.2.3)
        "series_description": f"{description}: {findings.service}"[:_LONG_STRING],
        "sop_instance_uid": document.sop_instance_uid,
        "instance_number": findings.subject.sequence,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "specific_character_set": "ISO_IR 192",
        "transfer_syntax_uid": ExplicitVRLittleEndian,
    }


def part10(document: Dataset, kept: Dataset, findings: Findings, zone: tzinfo) -> bytes:
    """PS3.10. What highdicom takes from the wall clock and from its own version is written anew."""
    document.update(kept)
    moment = findings.subject.triggered_at.astimezone(_offset(kept) or zone)
    for keyword in ("ContentDate", "InstanceCreationDate"):
        setattr(document, keyword, moment.strftime("%Y%m%d"))
    for keyword in ("ContentTime", "InstanceCreationTime"):
        setattr(document, keyword, moment.strftime("%H%M%S.%f"))
    document.ObservationDateTime = moment.strftime("%Y%m%d%H%M%S%z")  # the only one that is sure to name its zone
    document.pop("ContributingEquipmentSequence", None)  # highdicom names itself there, and now
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = document.SOPClassUID, document.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = _IMPLEMENTATION, "RADSTREAM"
    plain = Dataset()
    plain.update(document)
    plain.file_meta = meta
    written = BytesIO()
    dcmwrite(written, plain, enforce_file_format=True)
    return written.getvalue()


def _offset(kept: Dataset) -> tzinfo | None:
    """(0008,0201) is of all dates and times of an instance, ours too."""
    stated = kept.get("TimezoneOffsetFromUTC")
    return datetime.strptime(str(stated), "%z").tzinfo if stated else None

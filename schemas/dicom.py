"""What the engine knows of DICOM's SOP classes, of dates and of ages."""

from __future__ import annotations

import re
from datetime import date

_STORAGE = "1.2.840.10008.5.1.4.1.1."

#: SOP classes whose instances are images (PS3.6 table A-1: every "... Image Storage", retired ones included; PS3.4 B.5).
#: Presentation states, structured reports, key object selections, segmentations, encapsulated documents, waveforms and
#: private classes are none: they neither make a study revision nor are shown to a model (rule 11).
_IMAGE_STORAGE = {
    "1": "Computed Radiography",
    "1.1": "Digital X-Ray - For Presentation",
    "1.1.1": "Digital X-Ray - For Processing",
    "1.2": "Digital Mammography X-Ray - For Presentation",
    "1.2.1": "Digital Mammography X-Ray - For Processing",
    "1.3": "Digital Intra-Oral X-Ray - For Presentation",
    "1.3.1": "Digital Intra-Oral X-Ray - For Processing",
    "2": "CT",
    "2.1": "Enhanced CT",
    "2.2": "Legacy Converted Enhanced CT",
    "3": "Ultrasound Multi-frame",
    "3.1": "Ultrasound Multi-frame",
    "4": "MR",
    "4.1": "Enhanced MR",
    "4.3": "Enhanced MR Color",
    "4.4": "Legacy Converted Enhanced MR",
    "5": "Nuclear Medicine",
    "6": "Ultrasound",
    "6.1": "Ultrasound",
    "6.3": "Photoacoustic",
    "7": "Secondary Capture",
    "7.1": "Multi-frame Single Bit Secondary Capture",
    "7.2": "Multi-frame Grayscale Byte Secondary Capture",
    "7.3": "Multi-frame Grayscale Word Secondary Capture",
    "7.4": "Multi-frame True Color Secondary Capture",
    "12.1": "X-Ray Angiographic",
    "12.1.1": "Enhanced XA",
    "12.2": "X-Ray Radiofluoroscopic",
    "12.2.1": "Enhanced XRF",
    "12.3": "X-Ray Angiographic Bi-Plane",
    "13.1.1": "X-Ray 3D Angiographic",
    "13.1.2": "X-Ray 3D Craniofacial",
    "13.1.3": "Breast Tomosynthesis",
    "13.1.4": "Breast Projection X-Ray - For Presentation",
    "13.1.5": "Breast Projection X-Ray - For Processing",
    "14.1": "Intravascular Optical Coherence Tomography - For Presentation",
    "14.2": "Intravascular Optical Coherence Tomography - For Processing",
    "20": "Nuclear Medicine",
    "77.1": "VL (trial)",
    "77.1.1": "VL Endoscopic",
    "77.1.1.1": "Video Endoscopic",
    "77.1.2": "VL Microscopic",
    "77.1.2.1": "Video Microscopic",
    "77.1.3": "VL Slide-Coordinates Microscopic",
    "77.1.4": "VL Photographic",
    "77.1.4.1": "Video Photographic",
    "77.1.5.1": "Ophthalmic Photography 8 Bit",
    "77.1.5.2": "Ophthalmic Photography 16 Bit",
    "77.1.5.4": "Ophthalmic Tomography",
    "77.1.5.5": "Wide Field Ophthalmic Photography Stereographic Projection",
    "77.1.5.6": "Wide Field Ophthalmic Photography 3D Coordinates",
    "77.1.5.7": "Ophthalmic Optical Coherence Tomography En Face",
    "77.1.6": "VL Whole Slide Microscopy",
    "77.1.7": "Dermoscopic Photography",
    "77.1.8": "Confocal Microscopy",
    "77.1.9": "Confocal Microscopy Tiled Pyramidal",
    "77.2": "VL Multi-frame (trial)",
    "128": "Positron Emission Tomography",
    "128.1": "Legacy Converted Enhanced PET",
    "130": "Enhanced PET",
    "481.1": "RT",
    "481.23": "Enhanced RT",
    "481.24": "Enhanced Continuous RT",
}

IMAGE_SOP_CLASSES = frozenset(_STORAGE + suffix for suffix in _IMAGE_STORAGE)


def is_image(sop_class_uid: str) -> bool:
    """Whether instances of the SOP class are images: eligible for a study revision."""
    return sop_class_uid in IMAGE_SOP_CLASSES


#: AS (PS3.5 6.2): so many of a unit make a year
_UNITS = {"D": 365.25, "W": 365.25 / 7, "M": 12, "Y": 1}
#: beyond it the header is wrong: birth dates such as 18000101 are sent for "not known"
_OLDEST = 130


def age_in_years(age: str | None, birth_date: str | None, study_date: str | None) -> int | None:
    """Completed years from Patient's Age (0010,1010), else from Patient's Birth Date (0010,0030) and Study Date (0008,0020);
    None when they do not tell."""
    stated = re.fullmatch(r"([0-9]{3})([DWMY])", age or "")
    if stated and (years := int(int(stated[1]) / _UNITS[stated[2]])) <= _OLDEST:
        return years
    born, then = date_of(birth_date), date_of(study_date)
    if born is None or then is None:
        return None
    years = then.year - born.year - ((then.month, then.day) < (born.month, born.day))
    return years if 0 <= years <= _OLDEST else None


def date_of(value: str | None) -> date | None:
    """DA (PS3.5 6.2); None when it is none."""
    digits = re.fullmatch(r"([0-9]{4})([0-9]{2})([0-9]{2})", value or "")
    try:
        return date(*map(int, digits.groups())) if digits else None
    except ValueError:
        return None

"""Every code we write into DICOM objects, with its source. Codes of our own only where no terminology has the concept: they have at
most 16 characters, so that receivers that know Code Value (0008,0100) alone can read them."""

from __future__ import annotations

from hashlib import sha256

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.coding import Code

from schemas.coding import DCM, LOINC, RADLEX, SNOMED_CT
from schemas.findings import WITHDRAWING, FindingKind, NotAnalysedReason, Presence
from schemas.outputs import Coding
from schemas.renderings.labels import Language

#: PS3.16 section 8.2: private designators begin with 99
OWN = "99RADSTREAM"

# ------------------------------------------------------------------------------------------------------- the document

#: PS3.16 CID 7021 "Measurement Report Document Title": of TID 1500
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
#: PS3.16 CID 100 "Quantitative Diagnostic Imaging Procedure": true of whatever was sent. Which examination it was, `Findings` does
#: not know.
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
#: PS3.16 Annex D: sentences for people
COMMENT = Code("121106", "DCM", "Comment")
#: PS3.16 CID 270 "Observer Type"
DEVICE = Code("121007", "DCM", "Device")
#: PS3.16 TID 4019 "Algorithm Family" (111000, DCM); CID 7162 "Surface Processing Algorithm Family" holds this value
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
#: RFC 5646, PS3.16 TID 1204: of the sentences, which are the only text that is not an identifier
LANGUAGES: dict[Language, Code] = {
    "en": Code("en", "RFC5646", "English"),
    "zh-TW": Code("zh-TW", "RFC5646", "Chinese, Taiwan"),
}

# ---------------------------------------------------------------------------------------------------- the image library

#: PS3.16 TID 1600
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
#: PS3.3 C.17.3: a name for references whose purpose the template leaves open
SOURCE = Code("260753009", "SCT", "Source")
#: PS3.16 TID 1602
PIXEL_DATA_ROWS = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_DATA_COLUMNS = Code("110911", "DCM", "Pixel Data Columns")

# ------------------------------------------------------------------------------------------------------------- findings

#: SNOMED CT findings, the same as in renderings/fhir/codes.py. Not 427359005: that one is the *solitary* nodule.
KINDS: dict[FindingKind, Code] = {
    FindingKind.NODULE: Code("786838002", "SCT", "Nodule of lung"),
    FindingKind.MASS: Code("309529002", "SCT", "Lung mass"),
}
#: The same in radiology's own terms, as in renderings/fhir/codes.py: RadLex, and RadElement (designators of PS3.6 table A-1)
OTHER_CODES: dict[FindingKind, tuple[Code, ...]] = {
    FindingKind.NODULE: (Code("RID50149", "RADLEX", "pulmonary nodule"), Code("RDES195", "RADELEMENT", "Pulmonary Nodule")),
    FindingKind.MASS: (Code("RID39056", "RADLEX", "lung mass"),),
}
#: SNOMED CT has no "nodule or mass", and "absent" must be said of both.
NODULE_OR_MASS = Code("nodule-or-mass", OWN, "Nodule or mass of lung on radiograph")
#: PS3.16 CID 240 "Present-Absent", where Absent is another code than FHIR's 2667000. Its third, 373068000 "Undetermined", says that
#: nobody decided; here somebody did, and it is neither.
ANSWERS: dict[Presence, Code] = {
    "present": Code("52101004", "SCT", "Present"),
    "absent": Code("272519000", "SCT", "Absent"),
    "indeterminate": Code("82334004", "SCT", "Indeterminate"),
}
#: Not (111012, DCM, "Certainty of Finding") in percent nor (122157, DCM, "Probability"): nobody showed that the output of a model
#: is either.
FINDING_SCORE = Code("finding-score", OWN, "Model output for this finding, 0 to 1")
STUDY_SCORE = Code("study-score", OWN, "Highest model output of the images, 0 to 1")
STUDY_THRESHOLD = Code("study-threshold", OWN, "Operating point of the model on the study score")
OUTPUT_VALUE = Code("output-value", OWN, "Model output, highest of the images")
OUTPUT_THRESHOLD = Code("output-threshold", OWN, "Model output from which it is present")
#: PS3.16 CID 7470 "Linear Measurement"
LONG_AXIS = Code("103339001", "SCT", "Long Axis")
#: (370129005, SCT, "Measurement Method") of a size: on a projection it is true on the detector, where everything is magnified
PLANES = {
    "patient": Code("patient-plane", OWN, "Size in the patient"),
    "detector": Code("detector-plane", OWN, "Size on the detector, not corrected for magnification"),
}


def kind(of: FindingKind) -> CodedConcept:
    """With its other codes as equivalents, (0008,0121)."""
    concept = CodedConcept.from_code(KINDS[of])
    concept.EquivalentCodeSequence = [CodedConcept.from_code(code) for code in OTHER_CODES[of]]
    return concept


# ------------------------------------------------------------------------------------------------------- rejection notes

#: PS3.16 CID 7010 "Key Object Selection Document Title", of which IHE RAD, Imaging Object Change Management (IOCM), takes these.
#: Its view for regular use (dcm4chee-arc: IOCM_REGULAR_USE) goes on showing what is rejected for quality, and hides the others.
REJECTED_FOR_QUALITY = Code("113001", "DCM", "Rejected for Quality Reasons")
REJECTED_FOR_SAFETY = Code("113037", "DCM", "Rejected for Patient Safety Reasons")
#: the images may be another patient's: what this title was made for
WRONG_WORKLIST_ENTRY = Code("113038", "DCM", "Incorrect Modality Worklist Entry")
#: Never 113039, Data Retention Policy Expired: that one says that nothing was wrong, and lets archives delete for good.


def rejection_title(reason: NotAnalysedReason) -> Code:
    """What must not stand anywhere is hidden; else it was only the wrong thing to say."""
    if reason is NotAnalysedReason.IDENTITY_MISMATCH:
        return WRONG_WORKLIST_ENTRY
    return REJECTED_FOR_SAFETY if reason in WITHDRAWING else REJECTED_FOR_QUALITY


# ---------------------------------------------------------------------------------------------------------------- units

#: PS3.16 CID 7181 where it has words for a unit of UCUM
_UNITS = {"1": "no units", "%": "Percent", "mm": "mm", "{pixels}": "Pixels"}


def unit(ucum: str) -> Code:
    """UCUM, case sensitive."""
    return Code(ucum, "UCUM", _UNITS.get(ucum, ucum))


# ---------------------------------------------------------------------------------------------------- codes of the cards

#: PS3.16 table 8-1
_DESIGNATORS = {SNOMED_CT: "SCT", LOINC: "LN", RADLEX: "RADLEX", DCM: "DCM"}
#: LO (PS3.5 6.2): so many characters, and neither a backslash nor a control character
_LONG_STRING = 64


def concept(coding: Coding) -> Code:
    """As a card names an output. A meaning that is longer than Code Meaning (0008,0104) may be is cut; the code says it all."""
    words = "".join(letter if letter.isprintable() and letter != "\\" else " " for letter in coding.display)
    return Code(coding.code, designator(coding.system), words[:_LONG_STRING])


def designator(system: str) -> str:
    """A card's own urn: gets a private designator, always the same one; SH has 16 characters."""
    return _DESIGNATORS.get(system) or f"99{sha256(system.encode()).hexdigest()[:12].upper()}"


def coding_schemes(codings: tuple[Coding, ...]) -> list[CodingSchemeIdentificationItem]:
    """(0008,0110) of the private designators: ours, and the cards' with their urn: as the name."""
    private = {designator(coding.system): coding.system for coding in codings if coding.system not in _DESIGNATORS}
    return [_scheme(name, urn) for name, urn in sorted({OWN: "urn:radstream:codesystem:dicom", **private}.items())]


def _scheme(designator: str, urn: str) -> CodingSchemeIdentificationItem:
    return CodingSchemeIdentificationItem(designator=designator, name=urn)

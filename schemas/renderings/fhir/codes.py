"""Every code we write, with its source. Codes of our own only where no terminology has the concept."""

from __future__ import annotations

from typing import Any, NamedTuple

from schemas.findings import FindingKind, NotAnalysedReason, Presence

LOINC = "http://loinc.org"
SNOMED_CT = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
RADLEX = "http://radlex.org"
#: as RSNA's and OIDM's own FHIR examples write it
RADELEMENT = "https://radelement.org"
_V2 = "http://terminology.hl7.org/CodeSystem/v2-"
#: Code systems of our own are URNs: we own no domain whose URL could promise a definition.
_OWN = "urn:radstream:codesystem:"


class Code(NamedTuple):
    """A Coding; `version` only where the code is younger than the version that FHIR R4 bundles of its system."""

    system: str
    code: str
    display: str
    version: str | None = None

    @property
    def coding(self) -> dict[str, Any]:
        """As FHIR Coding."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def concept(self, text: str | None = None) -> dict[str, Any]:
        """As FHIR CodeableConcept."""
        return {"coding": [self.coding], "text": text or self.display}


# ------------------------------------------------------------------------------------------------------- the report

#: LOINC 18748-4, where no order names the examination in LOINC: true of whatever was sent, also of a hand that was not analysed. We
#: guess none: 36643-5 "XR Chest 2 Views" says how many views were made, which `Findings` does not know.
DIAGNOSTIC_IMAGING_STUDY = Code(LOINC, "18748-4", "Diagnostic imaging study")
#: HL7 table 0074, value set diagnostic-service-sections (binding of DiagnosticReport.category)
RADIOLOGY = Code(f"{_V2}0074", "RAD", "Radiology")
#: HL7 v3 ObservationValue, security provenance; younger than the copy inside R4 (2018), so its version is named
AI_ASSERTED = Code(
    "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "AIAST", "Artificial Intelligence asserted", "4.0.0"
)

# ---------------------------------------------------------------------------------------------------- identifier types

#: HL7 table 0203; R4 value set identifier-type holds ACSN, PLAC, FILL
ACCESSION_ID = Code(f"{_V2}0203", "ACSN", "Accession ID")
PLACER_IDENTIFIER = Code(f"{_V2}0203", "PLAC", "Placer Identifier")
FILLER_IDENTIFIER = Code(f"{_V2}0203", "FILL", "Filler Identifier")

# ------------------------------------------------------------------------------------------------------ observations

#: R4 value set observation-category
IMAGING = Code("http://terminology.hl7.org/CodeSystem/observation-category", "imaging", "Imaging")
#: The question of the root Observation. SNOMED CT has nodule and mass of lung but no "nodule or mass", and "absent" must be
#: said of both.
NODULE_OR_MASS = Code(f"{_OWN}observation", "nodule-or-mass-of-lung", "Nodule or mass of lung on radiograph")
#: Of a service that did not analyse: what it would have looked for, only its model knows.
ANALYSIS = Code(f"{_OWN}observation", "analysis", "Analysis of the study by AI")
#: SNOMED CT qualifier values
PRESENT = Code(SNOMED_CT, "52101004", "Present")
ABSENT = Code(SNOMED_CT, "2667000", "Absent")
#: as IHE RAD "Imaging Diagnostic Report" 6.7.3.6.2.6 recommends for the presence of a condition
INDETERMINATE = Code(SNOMED_CT, "82334004", "Indeterminate")
#: To the question of the root. "Absent" would hide an alarm that has no place, "present" would name nothing. Nothing else is
#: indeterminate: what was not looked for has no root at all, and a finding at the edge of the image is a finding.
ANSWERS: dict[Presence, Code] = {"present": PRESENT, "absent": ABSENT, "indeterminate": INDETERMINATE}
#: SNOMED CT findings. Not 427359005: that one is the *solitary* nodule.
KINDS: dict[FindingKind, Code] = {
    FindingKind.NODULE: Code(SNOMED_CT, "786838002", "Nodule of lung"),
    FindingKind.MASS: Code(SNOMED_CT, "309529002", "Lung mass"),
}
#: The same in radiology's own terms: RadLex, and RadElement (common data elements of ACR, RSNA), whose set RDES195 IHE's "Imaging
#: Diagnostic Report" 6.7.3.6.3.1 prefers as the code of a pulmonary nodule; for a mass we know none.
OTHER_CODES: dict[FindingKind, tuple[Code, ...]] = {
    FindingKind.NODULE: (Code(RADLEX, "RID50149", "pulmonary nodule"), Code(RADELEMENT, "RDES195", "Pulmonary Nodule")),
    FindingKind.MASS: (Code(RADLEX, "RID39056", "lung mass"),),
}
#: Element of RDES195 and its value. Of the others none is written: RDE1302 "Size" is the *average* diameter, and a projection gives
#: a long axis; composition, location, margin and change no model of ours says.
ELEMENT_PRESENCE = Code(RADELEMENT, "RDE1717", "Presence")
ELEMENT_PRESENT = Code(RADELEMENT, "RDE1717.1", "present")
#: R4 value set data-absent-reason
NOT_PERFORMED = Code("http://terminology.hl7.org/CodeSystem/data-absent-reason", "not-performed", "Not Performed")
NOT_ANALYSED: dict[NotAnalysedReason, Code] = {
    reason: Code(f"{_OWN}not-analysed", reason.value, words)
    for reason, words in {
        NotAnalysedReason.WRONG_MODALITY: "the modality is outside the intended use",
        NotAnalysedReason.WRONG_BODY_PART: "the body part is outside the intended use",
        NotAnalysedReason.WRONG_VIEW: "the view is outside the intended use",
        NotAnalysedReason.WRONG_IMAGE_TYPE: "the image is not a plain radiograph as exposed",
        NotAnalysedReason.PORTABLE: "bedside radiographs are outside the intended use",
        NotAnalysedReason.WRONG_AGE: "the patient's age is outside the intended use",
        NotAnalysedReason.NO_IMAGE: "the study holds no image that could be analysed",
        NotAnalysedReason.NO_ORDER: "no order was found for the study",
        NotAnalysedReason.ORDER_CANCELLED: "the order was cancelled",
        NotAnalysedReason.IDENTITY_MISMATCH: "order and images name different patients",
        NotAnalysedReason.LATE: "no answer came within the time limit",
        NotAnalysedReason.MODEL_RECALLED: "the AI model that had analysed the study was recalled",
    }.items()
}

# --------------------------------------------------------------------------------------------------------- components

STUDY_PROBABILITY = Code(f"{_OWN}component", "study-probability", "Highest model output of the images, 0 to 1")
THRESHOLD = Code(f"{_OWN}component", "threshold", "Operating point of the model on the study probability")
PROBABILITY = Code(f"{_OWN}component", "probability", "Model output for this finding, 0 to 1")
#: What a number between 0 and 1 means, beside what it is of. "Calibrated" would say that so many in a hundred are so: no card
#: claims that for another hospital's patients, so it is not written.
SCORE = Code(f"{_OWN}meaning", "score", "Score: ranks what one version of one model says, and is no frequency")
OUTPUT_VALUE = Code(f"{_OWN}component", "output-value", "Model output, highest of the images")
OUTPUT_THRESHOLD = Code(f"{_OWN}component", "output-threshold", "Model output from which it is present")
#: DICOM CID 7470 "Linear Measurement Type": (103339001, SCT, "Long Axis")
LONG_AXIS = Code(SNOMED_CT, "103339001", "Long axis")
#: where a size is true (Measurement.plane): a projection enlarges
PLANES = {
    "patient": Code(f"{_OWN}plane", "patient", "In the plane of the patient"),
    "detector": Code(f"{_OWN}plane", "detector", "In the plane of the detector, enlarged by projection"),
}
#: What R5 ImagingSelection holds, in R4: instance.uid, instance.subset, and instance.imageRegion2D, whose coordinates are pixels
#: from the upper left corner of the upper left pixel. An axis-aligned box needs no polyline.
SOP_INSTANCE_UID = Code(f"{_OWN}component", "sop-instance-uid", "SOP Instance UID of the image, (0008,0018)")
FRAME = Code(f"{_OWN}component", "frame", "Frame of the image, from 1")
REGION_LEFT = Code(f"{_OWN}component", "region-left", "Left edge of the region, in image pixels")
REGION_TOP = Code(f"{_OWN}component", "region-top", "Upper edge of the region, in image pixels")
REGION_WIDTH = Code(f"{_OWN}component", "region-width", "Width of the region, in image pixels")
REGION_HEIGHT = Code(f"{_OWN}component", "region-height", "Height of the region, in image pixels")

#: UCUM units (code, name). Curly braces are an annotation: dimensionless, as DICOM CID 7181 writes pixels.
UNITY = ("1", "1")
PIXELS = ("{pixels}", "pixels")
MILLIMETRE = ("mm", "mm")

# ------------------------------------------------------------------------------------------------ device and provenance

#: R4 value set device-nametype (required)
MODEL_NAME = "model-name"
#: what a Device.version means
SOFTWARE_VERSION = Code(f"{_OWN}device-version", "software-version", "Version of the model")
WEIGHTS_SHA256 = Code(f"{_OWN}device-version", "weights-sha256", "SHA-256 of the model's weights, hexadecimal")
#: R4 value set provenance-agent-type
AUTHOR = Code("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "author", "Author")
ASSEMBLER = Code("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "assembler", "Assembler")

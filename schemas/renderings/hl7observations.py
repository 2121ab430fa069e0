"""What one state says, as OBX segments without their place in a message (HL7 v2.5.1 7.4.2).

A receiver knows an OBX by OBX-3 and OBX-4 (7.4.2.4): so each of ours has a pair of its own, and the same thing keeps its pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from schemas.coding import DCM, LOINC, RADLEX, SNOMED_CT
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Finding, Findings, Region
from schemas.hl7v2.groups import OWN
from schemas.identifiers import SOPInstanceUID
from schemas.outputs import Output
from schemas.renderings import labels
from schemas.renderings.fhir import codes
from schemas.renderings.hl7text import components, escaped, moment, number
from schemas.renderings.labels import Language

#: table 0396; L is a local one without a name
_SYSTEMS = {SNOMED_CT: "SCT", LOINC: "LN", RADLEX: "RADLEX", DCM: "DCM"}
#: OBX-4 of what is said of the whole study; findings have their ordinal, outputs O1, O2 ..., lines of text T1, T2 ...
STUDY = "0"

#: IHE RAD TF-2 4.7 (table 4.7-7): the Study Instance UID in a result message
_STUDY_UID = ("113014", "DICOM Study", "DCM")
_KIND = ("finding", "Finding with a place", OWN)
_NOT_ANALYSED = ("not-analysed", "Why the study was not analysed", OWN)
_AFTER_VERIFICATION = ("after-verification", "When a radiologist had verified the report, before this answer came", OWN)
_NOT_LOOKED_FOR = ("not-looked-for", "What this service does not look for", OWN)
_TEXT = ("text", "Text for the report", OWN)
#: another code than the text of findings: what was told of them is withdrawn, not written over
_TEXT_NOT_ANALYSED = ("text-not-analysed", "Text for the report", OWN)


@dataclass(frozen=True, slots=True)
class Observation:
    """`code`: OBX-3 as components; `group`: OBX-4; `type`: OBX-2; `value`: OBX-5, escaped, "" for none; `unit`: UCUM;
    `status`: OBX-11 where it is not that of the report."""

    code: tuple[str, ...]
    group: str
    type: str
    value: str = ""
    unit: str = ""
    status: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.code[0], self.code[2], self.group


def observations(findings: Findings, text: str, language: Language, zone: ZoneInfo) -> list[Observation]:
    """`text`: the lines for the report field. They come first, because some receivers show all that comes."""
    #: order detail, no result: it stays whatever is withdrawn
    study = Observation(_STUDY_UID, STUDY, "ST", escaped(findings.subject.study_instance_uid), status="O")
    if findings.not_analysed is not None:
        return [*_lines(text, _TEXT_NOT_ANALYSED), study, *_not_analysed(findings, language)]
    return [*_lines(text, _TEXT), study, *_study(findings, language, zone), *_located(findings, language)]


def _not_analysed(findings: Findings, language: Language) -> Iterator[Observation]:
    """The question has no value; why stands beside it."""
    assert findings.not_analysed is not None
    reason = findings.not_analysed.reason
    ours = findings.service == CHEST_RADIOGRAPH_FINDINGS
    yield Observation(_own(codes.NODULE_OR_MASS if ours else codes.ANALYSIS), STUDY, "CWE")
    why = codes.NOT_ANALYSED[reason]
    yield Observation(_NOT_ANALYSED, STUDY, "CWE", _coded(why, OWN, labels.not_analysed(reason, language)))


def _study(findings: Findings, language: Language, zone: ZoneInfo) -> Iterator[Observation]:
    if findings.verified_at is not None:
        yield Observation(_AFTER_VERIFICATION, STUDY, "TS", moment(findings.verified_at, zone))
    present = findings.presence
    if present is None:
        yield Observation(
            _NOT_LOOKED_FOR, STUDY, "CWE", _coded(codes.NODULE_OR_MASS, OWN, labels.phrase("not-looked-for", language))
        )
        return
    answer = _coded(codes.ANSWERS[present], "SCT", labels.presence(present, language))
    yield Observation(_own(codes.NODULE_OR_MASS), STUDY, "CWE", answer)
    assert findings.probability is not None and findings.threshold is not None
    yield _number(codes.STUDY_PROBABILITY, STUDY, findings.probability)
    yield _number(codes.THRESHOLD, STUDY, findings.threshold)


def _located(findings: Findings, language: Language) -> Iterator[Observation]:
    for finding in findings.findings:
        yield from _finding(finding, language)
    for at, (output, image) in enumerate(findings.outputs_with_image, start=1):
        yield from _output(output, image, f"O{at}", language)


def _finding(finding: Finding, language: Language) -> Iterator[Observation]:
    group = str(finding.ordinal)
    kind = codes.KINDS[finding.kind]
    yield Observation(_KIND, group, "CWE", _coded(kind, "SCT", labels.finding_kind(finding.kind, language)))
    yield _number(codes.PROBABILITY, group, finding.probability)
    yield from _region(finding.region, group)
    if finding.long_axis is not None:
        words = f"{codes.LONG_AXIS.display} in the plane of the {finding.long_axis.plane}"
        code = (codes.LONG_AXIS.code, words, "SCT")
        yield Observation(code, group, "NM", number(finding.long_axis.value), finding.long_axis.unit)


def _region(region: Region, group: str) -> Iterator[Observation]:
    """Of the image as it is stored, from its upper left corner."""
    yield _image(region.sop_instance_uid, group)
    yield Observation(_own(codes.FRAME), group, "NM", str(region.frame))
    for code, value in (
        (codes.REGION_LEFT, region.left),
        (codes.REGION_TOP, region.top),
        (codes.REGION_WIDTH, region.width),
        (codes.REGION_HEIGHT, region.height),
    ):
        yield _number(code, group, value, codes.PIXELS[0])


def _output(output: Output, image: SOPInstanceUID, group: str, language: Language) -> Iterator[Observation]:
    """By its own name, and by the code of its terminology as the alternative. Of one that is only measured, the value alone."""
    coding = output.coding
    system = _SYSTEMS.get(coding.system, "L")
    code = (output.name, labels.output(output, language), OWN, coding.code, coding.display, system)
    if output.present is not None:
        answer = codes.PRESENT if output.present else codes.ABSENT
        said = labels.presence("present" if output.present else "absent", language)
        yield Observation(code, group, "CWE", _coded(answer, "SCT", said))
        yield _number(codes.OUTPUT_VALUE, group, output.value, output.unit)
    else:
        yield Observation(code, group, "NM", number(output.value), output.unit)
    if output.threshold is not None:
        yield _number(codes.OUTPUT_THRESHOLD, group, output.threshold, output.unit)
    yield _image(image, group)


def lines_of_text(most: int) -> list[Observation]:
    """All that a report of findings may have held, without their value."""
    return [Observation(_TEXT, f"T{at}", "TX") for at in range(1, most + 1)]


def _lines(text: str, code: tuple[str, str, str]) -> Iterator[Observation]:
    """One OBX a line, as most receivers want it; TX is not formatted, so no line end can be in it."""
    for at, line in enumerate(text.split("\n"), start=1):
        yield Observation(code, f"T{at}", "TX", escaped(line))


def _image(uid: SOPInstanceUID, group: str) -> Observation:
    return Observation(_own(codes.SOP_INSTANCE_UID), group, "ST", escaped(uid))


def _number(code: codes.Code, group: str, value: float, unit: str = codes.UNITY[0]) -> Observation:
    return Observation(_own(code), group, "NM", number(value), unit)


def _own(code: codes.Code) -> tuple[str, str, str]:
    return code.code, code.display, OWN


def _coded(code: codes.Code, system: str, words: str) -> str:
    """CWE: the code in its own words; CWE.9 in those of the receiver's language."""
    return components(code.code, code.display, system, "", "", "", "", "", words)

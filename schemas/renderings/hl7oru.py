"""Findings -> ORU^R01 (HL7 v2.5.1 7.3.1), built with hl7apy, for a receiver whose last state is known.

A report of ours can be taken for no other: it has a filler order number (OBR-3) and a code (OBR-4) of its own. What was told and
is not said any more is deleted OBX by OBX (OBX-11 D; W where it was another patient's), because that is how a receiver knows it.
hl7apy's strict validation is not used: it refuses an OBX-5 over 199 characters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hl7apy.core import Message

from schemas.errors import InvalidResource
from schemas.findings import Findings, NotAnalysedReason, OrderReference, Subject
from schemas.hl7v2.charset import codec_of
from schemas.hl7v2.groups import OWN
from schemas.hl7v2.header import Header
from schemas.identifiers import AccessionNumber, FillerOrderNumber, PatientIdentifier, PlacerOrderNumber, identity
from schemas.renderings import labels
from schemas.renderings.hl7observations import Observation, lines_of_text, observations
from schemas.renderings.hl7oruterms import MOST_LINES, OruTerms
from schemas.renderings.hl7text import components, entity, escaped, hierarchic, moment
from schemas.renderings.report_text import report_text

#: OBX-11 of what may only be replaced by a correction (table 0085)
_FINAL = frozenset({"F", "C"})
_NOT_AVAILABLE = "X"

_Number = PatientIdentifier | AccessionNumber | PlacerOrderNumber | FillerOrderNumber


@dataclass(frozen=True, slots=True)
class _Report:
    """One OBR and what stands under it: of each order of the study one."""

    findings: Findings
    order: OrderReference | None
    filler: str
    said: tuple[Observation, ...]

    @property
    def key(self) -> tuple[str, str]:
        """By what a receiver files it."""
        patient = self.findings.subject.patient
        return patient.text if patient else "", self.filler


def oru_messages(findings: Findings, held: Findings | None, terms: OruTerms, *, left_standing: bool = False) -> tuple[bytes, ...]:
    """What brings a receiver that holds `held` to `findings`: one message, and one before it when something was told of another
    order or patient, where it must not stand any longer. `left_standing`: that one was refused; then the other alone, which
    deletes all that was told under the same OBR-3, for a receiver that merged the patients files it there. The same arguments
    give the same bytes.

    Raises InvalidResource when an identifier of `findings` cannot be written in the receiver's character set: it would name
    another one. So of `held`, nothing was sent."""
    codec = codec_of("", terms.charset)
    if not _can_be_written(findings.subject, codec):
        why = "an identifier holds a character that the receiver's character set lacks"
        raise InvalidResource("oru", f"study {findings.subject.study_instance_uid}", why)
    if held is not None and not _can_be_written(held.subject, codec):
        held = None
    now = {report.key: report for report in _reports(findings, terms)}
    before = {} if held is None else {report.key: report for report in _reports(held, terms)}
    if left_standing:
        of_number = {report.filler: report for report in before.values()}
        return (_message([_told(report, of_number.get(report.filler), terms, "D") for report in now.values()], findings, terms),)
    deletion = _deletion(held, findings)
    told = [_told(report, before.get(key), terms, deletion) for key, report in now.items()]
    left = [_withdrawn(report, terms, deletion) for key, report in before.items() if key not in now]
    return tuple(_message(groups, findings, terms) for groups in (left, told) if groups)


def once_more(message: bytes, why: str) -> bytes:
    """The same content under another MSH-10, the same for the same `why`: for receivers that know repetitions by it."""
    id = Header.read(message).field(10)
    other = hashlib.sha256(f"{id}|{why}".encode()).hexdigest()[:20].upper()
    return message.replace(f"|{id}|".encode(), f"|{other}|".encode(), 1)


def filler_order_number(subject: Subject, service: str, order: OrderReference | None) -> str:
    """OBR-3.1 of a report: of each study, service and order one, however often analysed. 20 characters: what many receivers
    keep."""
    number = order and (order.placer_order_number or order.filler_order_number or order.accession_number)
    kind = type(number).__name__ if number else ""
    named = identity("oru-report", subject.study_instance_uid, service, kind, number.text if number else "")
    return f"AI{named.hex[:18].upper()}"


def result_status(now: str, before: str | None) -> str:
    """OBR-25 or OBX-11 after what stands there: only what was final is corrected (tables 0123, 0085). We say nothing final, so
    C does not come out of our own states."""
    return "C" if before in _FINAL and now in ("R", "P", "F") else now


# --------------------------------------------------------------------------------------------------------- what is told


@dataclass(frozen=True, slots=True)
class _Group:
    """An OBR with its OBX, as it goes out; each OBX with its OBX-11."""

    report: _Report
    status: str
    observations: tuple[tuple[Observation, str], ...]
    note: str = ""


def _reports(findings: Findings, terms: OruTerms) -> list[_Report]:
    text = report_text(
        findings,
        language=terms.language,
        lines=terms.lines,
        limit=terms.limit,
        unit=terms.unit,
        charset=terms.charset,
        disclaimer=terms.disclaimer,
    )
    said = tuple(observations(findings, text, terms.language, terms.time_zone))
    subject = findings.subject
    reports: dict[str, _Report] = {}
    for order in subject.orders or (None,):
        filler = filler_order_number(subject, findings.service, order)
        reports.setdefault(filler, _Report(findings, order, filler, said))
    return list(reports.values())


def _status(report: _Report, terms: OruTerms) -> str:
    return _NOT_AVAILABLE if report.findings.not_analysed is not None else terms.status


def _told(report: _Report, before: _Report | None, terms: OruTerms, deletion: str) -> _Group:
    now, earlier = _status(report, terms), None if before is None else _status(before, terms)
    known = {} if before is None else {one.identity: one.status or earlier for one in before.said}
    said = [(one, one.status or result_status(now, known.get(one.identity))) for one in report.said]
    gone = [] if before is None or before.findings == report.findings else _gone(before, {one.identity for one in report.said})
    return _Group(report, result_status(now, earlier), (*said, *((one, deletion) for one in gone)))


def _withdrawn(before: _Report, terms: OruTerms, deletion: str) -> _Group:
    """Of a report that must not stand any longer where it was told. Why is a note: no OBX is left that had to be deleted when the
    report comes back."""
    why = f"{labels.phrase('withdrawn', terms.language)}: {labels.phrase('moved', terms.language)}"
    return _Group(before, _NOT_AVAILABLE, tuple((one, deletion) for one in _gone(before, set())), note=why)


def _gone(before: _Report, kept: set[tuple[str, str, str]]) -> list[Observation]:
    """Without a value: who overlooks OBX-11 is not told again. Of the text every line that any setting could have told."""
    said = [Observation(one.code, one.group, one.type) for one in before.said]
    if before.findings.not_analysed is None:
        said += lines_of_text(MOST_LINES + 1)  # the disclaimer may stand beyond
    return list({one.identity: one for one in said if one.identity not in kept}.values())


def _deletion(held: Findings | None, now: Findings) -> str:
    """table 0085: W "post original as wrong, e.g., transmitted for wrong patient"; D "deletes the OBX record" """
    wrong = now.not_analysed is not None and now.not_analysed.reason is NotAnalysedReason.IDENTITY_MISMATCH
    moved = held is not None and held.subject.patient != now.subject.patient
    return "W" if wrong or moved else "D"


# -------------------------------------------------------------------------------------------------------------- segments


def _message(groups: Sequence[_Group], findings: Findings, terms: OruTerms) -> bytes:
    """For the patient of these groups."""
    message = Message("ORU_R01", version="2.5.1")
    result = message.add_group("ORU_R01_PATIENT_RESULT")
    patient = groups[0].report.findings.subject.patient
    if patient is not None:
        _pid(result.add_group("ORU_R01_PATIENT").add_segment("PID"), patient)
    for at, group in enumerate(groups, start=1):
        _order(result.add_group("ORU_R01_ORDER_OBSERVATION"), at, group, findings, terms)
    _msh(message.msh, "", findings, terms)
    unnumbered: str = message.to_er7()
    #: MSH-10, 20 characters (2.14.9.10): one for each content, so that a repetition is known as such
    control_id = hashlib.sha256(f"{findings.subject.sequence}|{unnumbered}".encode()).hexdigest()[:20].upper()
    message.msh.msh_10 = control_id
    er7: str = message.to_er7()
    # what the set lacks becomes a question mark, and is seen
    return (er7 + "\r").encode(codec_of("", terms.charset), "replace")


def _msh(msh: Any, control_id: str, findings: Findings, terms: OruTerms) -> None:
    for number, name in zip((3, 4, 5, 6), (*terms.sender, *terms.receiver), strict=True):
        _set(msh, number, hierarchic(name))
    msh.msh_7 = moment(findings.subject.triggered_at, terms.time_zone)
    msh.msh_9 = "ORU^R01^ORU_R01"
    _set(msh, 10, control_id)
    msh.msh_11 = terms.processing_id
    msh.msh_18 = terms.charset


def _pid(pid: Any, patient: PatientIdentifier) -> None:
    """Who it is and no more. The name is required; U: unspecified (table 0200), empty parts change nothing."""
    pid.pid_1 = "1"
    pid.pid_3 = f"{components(patient.value)}^^^{hierarchic(patient.assigner, '&')}"
    pid.pid_5 = "^^^^^^U"


def _order(group: Any, number: int, told: _Group, now: Findings, terms: OruTerms) -> None:
    findings, order = told.report.findings, told.report.order
    at = moment(now.subject.triggered_at, terms.time_zone)
    obr = group.add_segment("OBR")
    obr.obr_1 = str(number)
    if order and order.placer_order_number:
        obr.obr_2 = entity(order.placer_order_number.value, order.placer_order_number.assigner)
    obr.obr_3 = entity(told.report.filler, terms.assigner)
    words = f"{labels.phrase('result', terms.language)} {findings.service}"
    obr.obr_4 = components(findings.service, words, OWN)
    obr.obr_7 = at
    accession = order.accession_number if order else None
    if len(findings.subject.orders) <= 1:  # of several orders, it may be another's
        accession = accession or findings.subject.accession_number
    if accession and terms.accession_field:
        _set(obr, terms.accession_field, escaped(accession.value))
    obr.obr_22 = at  #: when the status changed (7.4.1.22)
    obr.obr_25 = told.status
    disclaimers = (labels.disclaimer(language) for language in dict.fromkeys((terms.language, "en")))
    for place, words in enumerate(filter(None, (told.note, *disclaimers)), start=1):
        note = group.add_segment("NTE")
        note.nte_1 = str(place)
        note.nte_2 = "L"  #: table 0105: the department that fills the order
        note.nte_3 = escaped(words)
    for place, (observation, status) in enumerate(told.observations, start=1):
        obx = group.add_group("ORU_R01_OBSERVATION").add_segment("OBX")
        _obx(obx, place, observation, status, findings, at)


def _obx(obx: Any, number: int, one: Observation, status: str, findings: Findings, at: str) -> None:
    """OBX-8 stays empty: it says nothing of normal and abnormal."""
    obx.obx_1 = str(number)
    obx.obx_2 = one.type
    obx.obx_3 = components(*one.code)
    obx.obx_4 = one.group
    if one.value:
        obx.obx_5 = one.value
    if one.unit and one.value:
        obx.obx_6 = components(one.unit, "", "UCUM")
    obx.obx_11 = status
    obx.obx_14 = at
    model = findings.model
    if model is not None:
        obx.obx_17 = components(model.name, f"{model.name} {model.version}", OWN)
        obx.obx_18 = entity(model.weights_sha256, "sha256")


def _can_be_written(subject: Subject, codec: str) -> bool:
    """Its identifiers. Python writes some characters (of Big5 a yen sign) as others that look alike."""
    numbers: list[_Number | None] = [subject.patient, subject.accession_number]
    for order in subject.orders:
        numbers += (order.placer_order_number, order.filler_order_number, order.accession_number)
    return all(one.text.encode(codec, "replace").decode(codec) == one.text for one in numbers if one is not None)


def _set(segment: Any, number: int, value: str) -> None:
    if value:
        setattr(segment, f"{segment.name.lower()}_{number}", value)

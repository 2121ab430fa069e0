"""The segments of an ORU^R01 (HL7 v2.5.1 7.3.1), built with hl7apy.

Its strict validation is not used: it refuses an OBX-5 over 199 characters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hl7apy.core import Message

from schemas.findings import Findings, OrderReference
from schemas.hl7v2.charset import codec_of
from schemas.hl7v2.groups import OWN
from schemas.hl7v2.header import Header
from schemas.identifiers import PatientIdentifier
from schemas.renderings import labels
from schemas.renderings.hl7observations import Observation
from schemas.renderings.hl7oruterms import OruTerms
from schemas.renderings.hl7text import components, entity, escaped, hierarchic, moment


@dataclass(frozen=True, slots=True)
class Report:
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


@dataclass(frozen=True, slots=True)
class Group:
    """An OBR with its OBX, as it goes out; each OBX with its OBX-11."""

    report: Report
    status: str
    observations: tuple[tuple[Observation, str], ...]
    note: str = ""


def message_of(groups: Sequence[Group], findings: Findings, terms: OruTerms) -> bytes:
    """For the patient of these groups."""
    message = Message("ORU_R01", version="2.5.1")
    result = message.add_group("ORU_R01_PATIENT_RESULT")
    patient = groups[0].report.findings.subject.patient
    if patient is not None:
        _pid(result.add_group("ORU_R01_PATIENT").add_segment("PID"), patient)
    for at, group in enumerate(groups, start=1):
        _order(result.add_group("ORU_R01_ORDER_OBSERVATION"), at, group, findings, terms)
    _msh(message.msh, findings, terms)
    unnumbered: str = message.to_er7()
    #: MSH-10, 20 characters (2.14.9.10): one for each content, so that a repetition is known as such
    control_id = hashlib.sha256(f"{findings.subject.sequence}|{unnumbered}".encode()).hexdigest()[:20].upper()
    message.msh.msh_10 = control_id
    er7: str = message.to_er7()
    # what the set lacks becomes a question mark, and is seen
    return (er7 + "\r").encode(codec_of("", terms.charset), "replace")


def once_more(message: bytes, why: str) -> bytes:
    """The same content under another MSH-10, the same for the same `why`: for receivers that know repetitions by it."""
    id = Header.read(message).field(10)
    other = hashlib.sha256(f"{id}|{why}".encode()).hexdigest()[:20].upper()
    return message.replace(f"|{id}|".encode(), f"|{other}|".encode(), 1)


def _msh(msh: Any, findings: Findings, terms: OruTerms) -> None:
    for number, name in zip((3, 4, 5, 6), (*terms.sender, *terms.receiver), strict=True):
        _set(msh, number, hierarchic(name))
    msh.msh_7 = moment(findings.subject.triggered_at, terms.time_zone)
    msh.msh_9 = "ORU^R01^ORU_R01"
    msh.msh_11 = terms.processing_id
    msh.msh_18 = terms.charset


def _pid(pid: Any, patient: PatientIdentifier) -> None:
    """Who it is and no more. The name is required; U: unspecified (table 0200), empty parts change nothing."""
    pid.pid_1 = "1"
    pid.pid_3 = f"{components(patient.value)}^^^{hierarchic(patient.assigner, '&')}"
    pid.pid_5 = "^^^^^^U"


def _order(group: Any, number: int, told: Group, now: Findings, terms: OruTerms) -> None:
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
    if one.unit:
        obx.obx_6 = components(one.unit, "", "UCUM")
    obx.obx_11 = status
    obx.obx_14 = at
    model = findings.model
    if model is not None:
        obx.obx_17 = components(model.name, f"{model.name} {model.version}", OWN)
        obx.obx_18 = entity(model.weights_sha256, "sha256")


def _set(segment: Any, number: int, value: str) -> None:
    if value:
        setattr(segment, f"{segment.name.lower()}_{number}", value)

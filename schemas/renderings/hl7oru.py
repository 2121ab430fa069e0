"""Findings -> ORU^R01 (HL7 v2.5.1 7.3.1) for a receiver whose last state is known.

A report of ours can be taken for no other: it has a filler order number (OBR-3) and a code (OBR-4) of its own. What was told and
is not said any more is deleted OBX by OBX (OBX-11 D; W where it was another patient's), because that is how a receiver knows it."""

from __future__ import annotations

from schemas.errors import InvalidResource
from schemas.findings import Findings, NotAnalysedReason, OrderReference, Subject
from schemas.hl7v2.charset import codec_of
from schemas.identifiers import AccessionNumber, FillerOrderNumber, PatientIdentifier, PlacerOrderNumber, identity
from schemas.renderings import labels
from schemas.renderings.hl7observations import Observation, lines_of_text, observations
from schemas.renderings.hl7orusegments import Group, Report, message_of
from schemas.renderings.hl7oruterms import MOST_LINES, OruTerms
from schemas.renderings.report_text import report_text

#: OBX-11 of what may only be replaced by a correction (table 0085)
_FINAL = frozenset({"F", "C"})
_NOT_AVAILABLE = "X"

_Number = PatientIdentifier | AccessionNumber | PlacerOrderNumber | FillerOrderNumber


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
        return (message_of([_told(report, of_number.get(report.filler), terms, "D") for report in now.values()], findings, terms),)
    deletion = _deletion(held, findings)
    told = [_told(report, before.get(key), terms, deletion) for key, report in now.items()]
    left = [_withdrawn(report, terms, deletion) for key, report in before.items() if key not in now]
    return tuple(message_of(groups, findings, terms) for groups in (left, told) if groups)


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


def _reports(findings: Findings, terms: OruTerms) -> list[Report]:
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
    reports: dict[str, Report] = {}
    for order in subject.orders or (None,):
        filler = filler_order_number(subject, findings.service, order)
        reports.setdefault(filler, Report(findings, order, filler, said))
    return list(reports.values())


def _status(report: Report, terms: OruTerms) -> str:
    return _NOT_AVAILABLE if report.findings.not_analysed is not None else terms.status


def _told(report: Report, before: Report | None, terms: OruTerms, deletion: str) -> Group:
    now, earlier = _status(report, terms), None if before is None else _status(before, terms)
    known = {} if before is None else {one.identity: one.status or earlier for one in before.said}
    said = [(one, one.status or result_status(now, known.get(one.identity))) for one in report.said]
    gone = [] if before is None or before.findings == report.findings else _gone(before, {one.identity for one in report.said})
    return Group(report, result_status(now, earlier), (*said, *((one, deletion) for one in gone)))


def _withdrawn(before: Report, terms: OruTerms, deletion: str) -> Group:
    """Of a report that must not stand any longer where it was told. Why is a note: no OBX is left that had to be deleted when the
    report comes back."""
    why = f"{labels.phrase('withdrawn', terms.language)}: {labels.phrase('moved', terms.language)}"
    return Group(before, _NOT_AVAILABLE, tuple((one, deletion) for one in _gone(before, set())), note=why)


def _gone(before: Report, kept: set[tuple[str, str, str]]) -> list[Observation]:
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


def _can_be_written(subject: Subject, codec: str) -> bool:
    """Its identifiers. Python writes some characters (of Big5 a yen sign) as others that look alike."""
    numbers: list[_Number | None] = [subject.patient, subject.accession_number]
    for order in subject.orders:
        numbers += (order.placer_order_number, order.filler_order_number, order.accession_number)
    return all(one.text.encode(codec, "replace").decode(codec) == one.text for one in numbers if one is not None)

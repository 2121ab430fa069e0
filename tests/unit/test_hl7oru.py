"""ORU^R01, read by python-hl7 and by our own reader: the same content, and nobody else's report."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schemas.events import ReportDrafted
from schemas.findings import DEMONSTRATION, NotAnalysedReason, OrderReference
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Message
from schemas.hl7v2.reports import reports
from schemas.hl7v2.site import Site
from schemas.identifiers import AccessionNumber
from schemas.renderings import labels
from schemas.renderings.fhir import codes
from schemas.renderings.hl7conformance import deviations
from schemas.renderings.hl7oru import filler_order_number, oru_messages
from schemas.renderings.hl7oruterms import OruTerms
from schemas.renderings.report_text import report_text
from tests.contract.example_findings import ACCESSION, not_analysed, order, subject
from tests.contract.oru_ris import Report, part, read
from tests.unit.oru_files import ENGLISH, FILES, STATES, TERMS, golden, message_of, split, told


def test_golden_files() -> None:
    assert golden() == FILES


def test_every_message_keeps_the_standard() -> None:
    """hl7apy's table 0125 lacks CWE, which v2.5.1 messages carry all the same (LRI and ELR implementation guides)."""
    for name, data in FILES.items():
        for one in split(data):
            left = [it for it in deviations(Message.parse(one)) if (it.place, it.value) != ("OBX-2", "CWE")]
            assert not left, name


@pytest.mark.parametrize("language", TERMS)
@pytest.mark.parametrize("name", [name for name in STATES if name != "two-orders"])
def test_it_says_all_that_findings_say(name: str, language: str) -> None:
    """As python-hl7 reads it, to the last digit."""
    state, terms = STATES[name], TERMS[language]
    report = told(name, language)
    assert report.value("113014") == state.subject.study_instance_uid
    text = report_text(state, language=terms.language, unit=terms.unit, charset=terms.charset)
    assert report.text == text.split("\n")
    assert report.notes == list(dict.fromkeys([labels.disclaimer(terms.language), DEMONSTRATION]))
    if state.not_analysed is not None:
        assert report.value("not-analysed") == state.not_analysed.reason.value
        assert {one.status for one in report.observations.values()} == {"X", "O"}
        assert report.status == "X"
        return
    assert report.status == terms.status
    assert {one.status for one in report.observations.values()} == {terms.status, "O"}
    expected = {"present": "52101004", "absent": "2667000", "indeterminate": "82334004", None: None}
    assert report.value("nodule-or-mass-of-lung") == expected[state.presence]
    assert (report.value("not-looked-for") is None) == state.locates
    assert (report.value("after-verification") is None) == (state.verified_at is None)
    for number, value in (("study-probability", state.probability), ("threshold", state.threshold)):
        assert number_of(report, number) == value
    assert findings_of(report) == [
        (
            codes.KINDS[one.kind].code,
            one.probability,
            (one.region.left, one.region.top, one.region.width, one.region.height),
            one.region.sop_instance_uid,
            one.region.frame,
            one.long_axis and one.long_axis.value,
        )
        for one in state.findings
    ]
    for at, (output, image) in enumerate(state.outputs_with_image, start=1):
        answer = report.value(output.name, f"O{at}")
        if output.present is None:
            assert float(answer or "nan") == output.value
        else:
            assert answer == (codes.PRESENT if output.present else codes.ABSENT).code
            assert number_of(report, "output-value", f"O{at}") == output.value
        assert number_of(report, "output-threshold", f"O{at}") == output.threshold
        assert report.value("sop-instance-uid", f"O{at}") == image


def number_of(report: Report, code: str, group: str = "0") -> float | None:
    value = report.value(code, group)
    return None if value is None else float(value)


def findings_of(report: Report) -> list[tuple[object, ...]]:
    """One group a finding."""
    groups = sorted(int(group) for code, _, group in report.observations if code == "finding")
    return [
        (
            report.value("finding", group),
            number_of(report, "probability", group),
            tuple(number_of(report, f"region-{edge}", group) for edge in ("left", "top", "width", "height")),
            report.value("sop-instance-uid", group),
            number_of(report, "frame", group),
            number_of(report, "103339001", group),
        )
        for group in map(str, groups)
    ]


def test_units() -> None:
    report = told("present")
    units = {key[0]: one.unit for key, one in report.observations.items() if key[2] == "2"}
    assert units["103339001"] == "mm"
    assert units["region-left"] == "{pixels}"
    assert units["probability"] == "1"


# --------------------------------------------------------------------------------------------------------- whose it is


def test_no_ris_takes_it_for_the_examination_or_its_report() -> None:
    """OBR-3 and OBR-4 are our own; nobody's name stands in it as that of who read it; no value is called abnormal."""
    message = message_of("present")
    obr = message.segment("OBR")
    assert str(obr[3]) == f"{filler_order_number(subject(), STATES['present'].service, order(1))}^radstream"
    assert part(message, obr, 4, 3) == "99RADSTREAM"
    assert len(obr) == 26  # nothing behind OBR-25
    assert all(not str(obx[8]) and not str(obx[16]) for obx in message.segments("OBX"))


@pytest.mark.parametrize("language", TERMS)
def test_our_own_reader_finds_the_order_and_the_patient(language: str) -> None:
    """Under another coding system: of what we told ourselves it makes no report."""
    data = FILES[f"present.{language}.hl7"]
    events = [
        reports(Reception(Message.parse(one), Site(default_assigner="RIS"), datetime(2026, 11, 24, tzinfo=UTC)))
        for one in (data, data.replace(b"99RADSTREAM", b"99OTHER"))
    ]
    assert not events[0]
    (event,) = events[1]
    assert isinstance(event, ReportDrafted)
    assert event.placer_order_number == order(1).placer_order_number
    assert event.accession_number == ACCESSION
    assert event.patients == (subject().patient,)
    lines = told("present", language).text
    assert event.text.split("\n")[: len(lines)] == lines  # before the numbers: some receivers show all that comes


def test_the_patient_is_an_identifier_and_no_more() -> None:
    message = message_of("present")
    assert [str(field) for field in message.segment("PID")] == [
        "PID", "1", "", "MRN-4711^^^HOSPITAL \\T\\ Sons", "", "^^^^^^U",
    ]  # fmt: skip
    assert "PID" not in str(message_of("no-patient"))


def test_each_order_has_its_own_report() -> None:
    message = message_of("two-orders")
    orders = [(str(obr[1]), part(message, obr, 2), part(message, obr, 3)) for obr in message.segments("OBR")]
    assert [one[:2] for one in orders] == [("1", "P1"), ("2", "P2")]
    assert len({one[2] for one in orders}) == 2


def test_the_filler_order_number_stays_whatever_is_said_and_fits_into_20_characters() -> None:
    numbers = {filler_order_number(subject(sequence), "a", order(1)) for sequence in (4, 5, 6, 8)}
    assert len(numbers) == 1
    others = {filler_order_number(subject(), service, of) for service in ("a", "b") for of in (None, order(1), order(2))}
    assert len(others) == 6
    assert all(len(one) == 20 for one in others)


def test_an_order_without_a_placer_number_has_a_filler_order_number_of_its_own_too() -> None:
    one, another = order(1), order(2, AccessionNumber(value="A2", assigner="RIS"))
    fillers = [OrderReference(filler_order_number=of.filler_order_number) for of in (one, another)]
    accessions = [OrderReference(accession_number=of.accession_number) for of in (one, another)]
    assert len({filler_order_number(subject(), "a", of) for of in (None, *fillers, *accessions)}) == 5


@pytest.mark.parametrize(("field", "held"), [(18, 18), (20, 20), (None, None)])
def test_the_accession_number_stands_where_the_site_wants_it(field: int | None, held: int | None) -> None:
    message = read(oru_messages(STATES["present"], None, OruTerms(accession_field=field))[0])  # type: ignore[arg-type]
    obr = message.segment("OBR")
    assert [at for at in range(5, len(obr)) if part(message, obr, at) == ACCESSION.value] == [at for at in [held] if at]


def test_of_several_orders_none_is_given_the_accession_number_of_the_study() -> None:
    """It may be that of another order."""
    without = [order(number).model_copy(update={"accession_number": None}) for number in (1, 2)]
    told = [
        oru_messages(not_analysed(NotAnalysedReason.LATE, subject(orders=tuple(orders))), None, ENGLISH)[0]
        for orders in (without[:1], without)
    ]
    held = [[part(message, obr, 18) for obr in message.segments("OBR")] for message in map(read, told)]
    assert held == [[ACCESSION.value], ["", ""]]


def test_the_model_stands_beside_each_result() -> None:
    message = message_of("present")
    for obx in message.segments("OBX"):
        assert str(obx[17]) == "chest-nodule^chest-nodule 1^99RADSTREAM"
        assert str(obx[18]) == f"{'a' * 64}^sha256"


def test_each_message_has_a_control_id_of_its_own() -> None:
    """That the same state gives the same one, the golden files say."""
    messages = [read(one) for data in FILES.values() for one in split(data)]
    ids = [part(message, message.segment("MSH"), 10) for message in messages]
    assert len(set(ids)) == len(set(map(str, messages)))
    assert all(len(one) == 20 for one in ids)


def test_times_are_those_of_the_record_in_the_zone_of_the_receiver() -> None:
    message = message_of("present", "zh-TW")
    times = {part(message, message.segment("MSH"), 7), part(message, message.segment("OBR"), 7)}
    assert times == {"20261124163100.123+0800"}


def test_a_text_that_cannot_hold_what_must_be_said_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="needs at least"):
        OruTerms(limit=100)

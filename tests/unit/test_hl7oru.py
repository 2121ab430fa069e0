"""ORU^R01, read by python-hl7 and by our own reader: the same content, and whatever was told stands once, in its last state.

`python -m tests.unit.test_hl7oru` writes the golden files anew."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import hl7  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import InvalidResource
from schemas.events import ReportDrafted
from schemas.findings import DEMONSTRATION, FindingKind, Findings, NotAnalysedReason
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Message
from schemas.hl7v2.reports import reports
from schemas.hl7v2.site import Site
from schemas.identifiers import PatientIdentifier
from schemas.renderings import labels
from schemas.renderings.fhir import codes
from schemas.renderings.hl7conformance import deviations
from schemas.renderings.hl7oru import filler_order_number, oru_messages, result_status
from schemas.renderings.hl7oruterms import MOST_LINES, OruTerms
from schemas.renderings.report_text import report_text
from tests.contract.example_findings import (
    ACCESSION,
    DEVICES,
    after_verification,
    every_state,
    finding,
    findings,
    not_analysed,
    order,
    subject,
    two_findings,
    two_images,
)
from tests.contract.oru_ris import Report, Ris, part, read

GOLDEN = Path(__file__).parent.parent / "samples" / "oru"
ENGLISH = OruTerms(receiver=("RIS", "HOSPITAL"))
#: a facility whose name in Big5 holds a backslash and a bar: the second bytes of its second and third character
CHINESE = OruTerms(
    sender=("radstream", "許功蓋醫院"),
    receiver=("RIS", "HOSPITAL"),
    charset="BIG-5",
    language="zh-TW",
    status="P",
    time_zone=ZoneInfo("Asia/Taipei"),
    unit="bytes",
)
TERMS = {"en": ENGLISH, "zh-TW": CHINESE}
STATES = every_state()


def transitions() -> dict[str, tuple[Findings, Findings]]:
    """What was told, and what is told now."""
    four, later = two_findings(subject(4)), subject(8)
    elsewhere = PatientIdentifier(value="MRN-4712", assigner="1.2.826.0.1.3680043.10.511.1")
    return {
        "fewer": (two_images(subject(4)), findings(later, finding(1))),
        "absent": (four, findings(later)),
        "recalled": (four, not_analysed(NotAnalysedReason.MODEL_RECALLED, subject(6))),
        "wrong-patient": (four, not_analysed(NotAnalysedReason.IDENTITY_MISMATCH, later)),
        "late-then-found": (not_analysed(NotAnalysedReason.LATE, subject(3)), four),
        "marked": (four, after_verification(two_findings(subject(5)))),
        "other-order": (four, two_findings(subject(8, orders=(order(2),)))),
        "other-patient": (four, two_findings(later.model_copy(update={"patient": elsewhere}))),
        "one-order-of-two": (two_findings(subject(4, orders=(order(1), order(2)))), findings(later)),
    }


def golden() -> dict[str, bytes]:
    """By file name; several messages one behind the other."""
    told: dict[str, tuple[Findings, Findings | None]] = {name: (state, None) for name, state in STATES.items()}
    told |= {f"then-{name}": (now, before) for name, (before, now) in transitions().items()}
    return {
        f"{name}.{language}.hl7": b"".join(oru_messages(*state, terms))
        for name, state in told.items()
        for language, terms in TERMS.items()
    }


#: what the other tests judge
FILES = {path.name: path.read_bytes() for path in GOLDEN.glob("*.hl7")}


def test_golden_files() -> None:
    """hl7apy needs 5 ms for an OBX: whatever can be, is judged on the files."""
    assert golden() == FILES


def test_every_message_keeps_the_standard() -> None:
    """hl7apy's table 0125 lacks CWE, which v2.5.1 messages carry all the same (LRI and ELR implementation guides)."""
    for name, data in FILES.items():
        for one in split(data):
            left = [it for it in deviations(Message.parse(one)) if (it.place, it.value) != ("OBX-2", "CWE")]
            assert not left, name


def split(data: bytes) -> list[bytes]:
    return [b"MSH|" + one for one in data.split(b"MSH|")[1:]]


def told(name: str, language: str = "en") -> Report:
    """To a RIS that knew nothing; of one order."""
    ris = Ris()
    ris.take(FILES[f"{name}.{language}.hl7"])
    (report,) = ris.reports.values()
    return report


def message_of(name: str, language: str = "en") -> hl7.Message:
    return read(FILES[f"{name}.{language}.hl7"])


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
    assert report.value("nodule-or-mass-of-lung") == expected[labels.presence_of(state)]
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


@pytest.mark.parametrize(("field", "held"), [(18, 18), (20, 20), (None, None)])
def test_the_accession_number_stands_where_the_site_wants_it(field: int | None, held: int | None) -> None:
    message = read(oru_messages(STATES["present"], None, OruTerms(accession_field=field))[0])  # type: ignore[arg-type]
    obr = message.segment("OBR")
    assert [at for at in range(5, len(obr)) if part(message, obr, at) == ACCESSION.value] == [at for at in [held] if at]


def test_the_model_stands_beside_each_result() -> None:
    message = message_of("present")
    for obx in message.segments("OBX"):
        assert str(obx[17]) == "chest-nodule^chest-nodule 1^99RADSTREAM"
        assert str(obx[18]) == f"{'a' * 64}^sha256"


# ------------------------------------------------------------------------------------------------------------- statuses


@pytest.mark.parametrize(
    ("now", "before", "status"),
    [
        ("R", None, "R"),
        ("R", "R", "R"),
        ("P", "X", "P"),
        ("R", "F", "C"),
        ("P", "C", "C"),
        ("X", "F", "X"),
        ("R", "O", "R"),
    ],
)
def test_only_what_was_final_is_corrected(now: str, before: str | None, status: str) -> None:
    assert result_status(now, before) == status


def test_no_state_of_ours_is_final_or_a_correction() -> None:
    for data in FILES.values():
        for one in split(data):
            message = read(one)
            assert {part(message, obr, 25) for obr in message.segments("OBR")} <= {"R", "P", "X"}
            assert {part(message, obx, 11) for obx in message.segments("OBX")} <= {"R", "P", "X", "D", "W", "O"}


@pytest.mark.parametrize(("name", "status"), [("then-recalled", "D"), ("then-wrong-patient", "W")])
def test_every_obx_that_was_told_is_withdrawn(name: str, status: str) -> None:
    once = {key for key, one in told("present").observations.items() if one.status == "R"}
    parsed = message_of(name)
    said = {(part(parsed, x, 3), part(parsed, x, 3, 3), part(parsed, x, 4)): part(parsed, x, 11) for x in parsed.segments("OBX")}
    question = {key for key in once if key[0] == "nodule-or-mass-of-lung"}
    lines = {("text", "99RADSTREAM", f"T{at}") for at in range(1, MOST_LINES + 2)}  # whatever the settings were
    assert {key for key, one in said.items() if one == status} == (once - question) | lines
    assert {said[key] for key in question} == {"X"}  # the question itself stays, without an answer
    assert told(name).text[0].startswith("WITHDRAWN")


def test_a_report_that_moves_is_withdrawn_first_where_it_stood() -> None:
    first, second = map(read, split(FILES["then-other-patient.en.hl7"]))
    assert [part(message, message.segment("PID"), 3) for message in (first, second)] == ["MRN-4711", "MRN-4712"]
    assert {part(first, obx, 11) for obx in first.segments("OBX")} == {"W"}
    assert part(first, first.segment("NTE"), 3).startswith("WITHDRAWN")
    assert str(second.segment("PID")[3]) == "MRN-4712^^^&1.2.826.0.1.3680043.10.511.1&ISO"


def test_of_a_patient_that_the_receiver_knows_no_more_what_it_filed_by_the_order_number_is_deleted() -> None:
    """As after a merge; under the patient of now."""
    before, now = transitions()["other-patient"]
    (message,) = map(read, oru_messages(now, before, ENGLISH, left_standing=True))
    assert part(message, message.segment("PID"), 3) == "MRN-4712"
    recalled = not_analysed(NotAnalysedReason.MODEL_RECALLED, now.subject)
    ris = Ris()
    for state, held, standing in ((before, None, False), (recalled, before, True)):
        for data in oru_messages(state, held, ENGLISH, left_standing=standing):
            ris.take(data)
    (report,) = ris.reports.values()
    assert not report.results()
    assert report.text[0].startswith("WITHDRAWN")


LONG = OruTerms(lines=MOST_LINES, limit=5000, disclaimer="beyond")


@pytest.mark.parametrize("shape", [not_analysed(NotAnalysedReason.MODEL_RECALLED), findings()], ids=["recalled", "absent"])
@pytest.mark.parametrize("told_by", [LONG, CHINESE], ids=["longer", "other-language"])
def test_nothing_is_left_of_what_was_told_by_other_settings(shape: Findings, told_by: OruTerms) -> None:
    """The lines of a text are as many as a setting says, and what was told is known as it would be told today."""
    many = findings(subject(4), *(finding(at) for at in range(1, 26)))
    now, terms = shape.model_copy(update={"subject": subject(8)}), OruTerms(lines=1, limit=380)
    ris, fresh = Ris(), Ris()
    for message in (*oru_messages(many, None, told_by), *oru_messages(now, many, terms)):
        ris.take(message)
    for message in oru_messages(now, None, terms):
        fresh.take(message)
    ((filler, report),) = ris.reports.items()
    assert report.observations == fresh.reports[filler].observations


def test_a_text_of_more_lines_than_are_ever_deleted_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        OruTerms(lines=MOST_LINES + 1)


# ------------------------------------------------------------------------------------------------------- order of states

_SUBJECTS = [
    {"orders": (order(1),)},
    {"orders": (order(2),)},
    {"orders": (order(1), order(2))},
    {"orders": (), "patient": None},
    {"orders": (order(1),), "patient": PatientIdentifier(value="MRN-4712", assigner="HOSPITAL")},
]
_SHAPES = [STATES[name] for name in ("present", "absent", "devices-and-nodule", "measure-and-nodule", "after-verification")]
_SHAPES += [not_analysed(reason) for reason in (NotAnalysedReason.LATE, NotAnalysedReason.IDENTITY_MISMATCH)]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(_SHAPES), st.sampled_from(_SUBJECTS), st.integers(1, 2)), min_size=2, max_size=3))
def test_whatever_was_told_before_a_receiver_ends_in_the_last_state(chain: list[tuple[Findings, dict[str, object], int]]) -> None:
    """Orders and patients change too, and each state is told once or twice."""
    ris, held, now = Ris(), None, None
    for at, (shape, changed, times) in enumerate(chain, start=1):
        now = shape.model_copy(update={"subject": subject(4 * at).model_copy(update=changed)})
        messages = oru_messages(now, held, ENGLISH)
        for message in messages * times:
            ris.take(message)
        held = now
    assert now is not None
    fresh = Ris()
    for message in oru_messages(now, None, ENGLISH):
        fresh.take(message)
    left = {filler: report for filler, report in ris.reports.items() if report.observations}
    assert {filler: report.observations for filler, report in left.items()} == {
        filler: report.observations for filler, report in fresh.reports.items()
    }
    assert {filler: report.patient for filler, report in left.items()} == {
        filler: report.patient for filler, report in fresh.reports.items()
    }
    assert all(report.status == "X" for filler, report in ris.reports.items() if filler not in left)


def test_services_do_not_disturb_each_other() -> None:
    ris = Ris()
    for name in ("present", "devices-alone"):
        ris.take(FILES[f"{name}.en.hl7"])
    assert {report.service for report in ris.reports.values()} == {two_findings().service, DEVICES}


# ---------------------------------------------------------------------------------------------------- bytes of a message


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


def test_big5_bytes_that_look_like_separators_are_no_separators() -> None:
    """MSH-4 of `CHINESE`; a reader that decodes first finds it whole, and the segment as many fields long as it is."""
    data = FILES["present.zh-TW.hl7"]
    facility = "許功蓋醫院".encode("cp950")
    assert b"\\" in facility and data.count(facility) == 1
    assert part(read(data), read(data).segment("MSH"), 4) == "許功蓋醫院"
    assert Message.parse(data).header.value(4, 1) == "許功蓋醫院"


def test_what_the_character_set_lacks_is_seen_and_an_identifier_refused() -> None:
    terms = OruTerms(charset="BIG-5", sender=("radstream", "naïve"))
    assert b"|na?ve|" in oru_messages(STATES["present"], None, terms)[0]
    for value in ("naïve", "¥1"):  # the latter has a full-width double in Big5
        about = subject().model_copy(update={"patient": PatientIdentifier(value=value, assigner="H")})
        with pytest.raises(InvalidResource) as raised:
            oru_messages(findings(about), None, terms)
        assert value not in str(raised.value)
    # what cannot be written was never sent
    assert oru_messages(findings(), findings(about), terms) == oru_messages(findings(), None, terms)


def test_separators_in_values_are_escaped() -> None:
    state = findings(subject(accession=ACCESSION), finding(1, FindingKind.MASS))
    (data,) = oru_messages(state, None, OruTerms(sender=("a|b^c&d~e\\f\rg", "")))
    assert part(read(data), read(data).segment("MSH"), 3) == "a|b^c&d~e\\f g"
    assert b"|A 7001\\F\\x|" in data


def holds(codec: str, character: str) -> bool:
    return character.isprintable() and character.encode(codec, "replace").decode(codec) == character


def identifiers_in(codec: str) -> st.SearchStrategy[str]:
    """Any text that the set holds; not what HL7 calls null."""
    letters = [chr(code) for code in range(0x20, 0x3100) if holds(codec, chr(code))] + list("許功蓋餐育腫回年")
    texts = st.text(st.sampled_from("|^~\\&TFXE.") | st.sampled_from(letters), min_size=1, max_size=20).map(str.strip)
    return texts.filter(lambda text: text not in ("", '""'))


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_identifier_is_read_back_as_it_is(terms: OruTerms, data: st.DataObject) -> None:
    """hl7apy writes & as it stands and takes text like \\T\\ for an escape; bytes of Big5 look like both."""
    codec = {"UNICODE UTF-8": "utf-8", "BIG-5": "cp950"}[terms.charset]
    value, assigner = data.draw(identifiers_in(codec)), data.draw(st.sampled_from(["H", "許功蓋", "a|b"]))
    about = subject(orders=()).model_copy(update={"patient": PatientIdentifier(value=value, assigner=assigner)})
    (message,) = oru_messages(not_analysed(NotAnalysedReason.LATE, about), None, terms)
    assert Message.parse(message).segments[1].value(3, 1) == value.strip()
    assert Message.parse(message).segments[1].value(3, 4) == assigner
    assert len(read(message).segments("OBX")) == 6
    assert not [one for one in deviations(Message.parse(message)) if (one.place, one.value) != ("OBX-2", "CWE")]


def test_a_text_that_cannot_hold_what_must_be_said_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="needs at least"):
        OruTerms(limit=100)


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for path in GOLDEN.glob("*.hl7"):
        path.unlink()
    for name, data in golden().items():
        (GOLDEN / name).write_bytes(data)

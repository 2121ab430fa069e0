"""ORU^R01 after what was told before: whatever that was, what stands with a receiver is the last state, once."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import PatientIdentifier
from schemas.renderings.hl7oru import oru_messages, result_status
from schemas.renderings.hl7oruterms import MOST_LINES, OruTerms
from tests.contract.example_findings import DEVICES, finding, findings, not_analysed, order, subject, two_findings
from tests.contract.oru_ris import Ris, part, read
from tests.unit.oru_files import CHINESE, ENGLISH, FILES, STATES, message_of, split, told, transitions


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


def test_the_state_that_is_held_is_told_again_as_it_was() -> None:
    """By the same MSH-10 a receiver knows a repetition."""
    assert oru_messages(STATES["absent"], STATES["absent"], ENGLISH) == oru_messages(STATES["absent"], None, ENGLISH)


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

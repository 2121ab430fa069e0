"""What was said then against what is said now: every kind of difference is named, and only where there is one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from schemas.errors import InvalidResource, ItemNotServed, ModelFailed, RadstreamError, Rejected, StudyIncomplete
from schemas.events import Priority
from schemas.findings import DEMONSTRATION, FindingKind, Findings, Measurement, NotAnalysedReason
from schemas.history import Span
from schemas.identifiers import AccessionNumber, PatientIdentifier, identity
from schemas.ports import Place, Record
from schemas.renderings.fhir.bundle import bundle_of
from schemas.study_events import AnalysisRequested
from streams.dead_letter import dead_letter
from streams.replay.changes import Tolerance
from streams.replay.differing import Diff, differences, failures
from streams.replay.said import Side, of_requests, until
from tests.contract import example_findings as example
from tests.unit.cases import NOON, image, minutes
from tests.unit.replays import HERE, NAME, OTHER_MODEL, Place4, kinds, one_diff, record, said, side, uid

THERE: Place4 = (1000.0, 800.0, 50.0, 50.0)


def moved(by: float) -> Place4:
    return (HERE[0] + by, HERE[1], HERE[2], HERE[3])


def test_the_same_is_the_same_whatever_the_model_is_called() -> None:
    assert one_diff(said(1, [HERE]), said(1, [HERE], model=OTHER_MODEL)).changes == ()


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        (said(1, [HERE]), said(1, [moved(10)]), ["moved"]),
        (said(1, [HERE]), said(1, [moved(1.9)]), []),
        (said(1, [HERE]), said(1, [HERE], kind=FindingKind.MASS), ["renamed"]),
        (said(1, [HERE]), said(1, [HERE], found=0.85), ["score"]),
        (said(1, [HERE]), said(1, [HERE], probability=0.76), ["score"]),
        (said(1, [HERE]), said(1, [HERE], probability=0.751), []),
        (said(1, [HERE]), said(1, [HERE, THERE]), ["appeared"]),
        (said(1, [HERE, THERE]), said(1, [THERE]), ["vanished"]),
        (said(1, [HERE]), said(1, [THERE]), ["vanished", "appeared"]),
        (said(1, [HERE]), said(1, probability=0.75), ["vanished", "presence"]),
        (said(1, [HERE]), said(1, reason=NotAnalysedReason.WRONG_VIEW), ["analysed"]),
        (said(1, reason=NotAnalysedReason.LATE), said(1, reason=NotAnalysedReason.WRONG_VIEW), ["analysed"]),
        (said(1, probability=0.4), said(1, probability=0.4, threshold=0.3), ["presence"]),
        (said(1), said(1, accession_number=AccessionNumber(value="A2", assigner="RIS")), ["decided"]),
        (said(1), said(1, patient=PatientIdentifier(value="2", assigner="H")), ["decided"]),
        (said(1), said(1, orders=()), ["decided"]),
        (said(1), said(1, revision="9" * 64), ["decided"]),
        (said(1), said(1, outward=False), ["decided"]),
        (said(1), said(1, verified_at=NOON), ["decided"]),
    ],
)
def test_each_kind_by_its_name(then: Findings, now: Findings, expected: list[str]) -> None:
    assert kinds(one_diff(then, now)) == expected
    assert bool(kinds(one_diff(now, then))) is bool(expected), "what differs differs both ways"


def test_that_other_images_were_looked_at_is_told_though_the_same_was_found() -> None:
    (seen,) = said(1).images
    two = said(1, images=(seen, seen.model_copy(update={"sop_instance_uid": f"{example.IMAGE}.9"})))
    for found in (one_diff(two, said(1)), one_diff(said(1), two)):
        assert [change.words for change in found.changes] == ["other than then: which images were looked at"]


def test_no_words_hold_a_number_of_a_patient_or_an_order() -> None:
    other = {"patient": PatientIdentifier(value="SECRET", assigner="H"), "accession_number": None, "orders": ()}
    assert "SECRET" not in str(one_diff(said(1), said(1, **other)).changes)


def test_a_tolerance_is_what_one_asks_for() -> None:
    then, now = said(1, [HERE]), said(1, [moved(10)], probability=0.8)
    assert one_diff(then, now, Tolerance(score=0.05, pixels=10.0)).changes == ()


def test_a_size_that_changed_alone() -> None:
    then, now = (with_axis(said(1, [HERE]), value) for value in (12.0, 14.0))
    (change,) = one_diff(then, now).changes
    assert (change.kind, change.words) == ("moved", "nodule 1: long axis 12.0 mm then, 14.0 mm now")


def with_axis(findings: Findings, value: float) -> Findings:
    (one,) = findings.findings
    axis = Measurement(value=value, plane="detector")
    return findings.model_copy(update={"findings": (one.model_copy(update={"long_axis": axis}),)})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.02, 0.93, 0.4, 0.1), []),
        ((0.02, 0.93, 0.6, 0.1), ["nasogastric-tube: 0.4 (absent) then, 0.6 (present) now"]),
        ((0.02, 0.95, 0.4, 0.1), ["endotracheal-tube: 0.93 (present) then, 0.95 (present) now"]),
    ],
)
def test_outputs(values: tuple[float, ...], words: list[str]) -> None:
    then, now = (said(1, images=(example.image(*example.devices(*v), probability=0.2),)) for v in ((0.02, 0.93, 0.4, 0.1), values))
    assert [change.words for change in one_diff(then, now).changes if change.kind == "outputs"] == words
    without = said(1, images=(example.image(probability=0.2),))
    assert kinds(one_diff(then, without)) == ["outputs"] * 4


def test_text_is_what_receivers_read() -> None:
    """Its numbers have kinds and tolerances of their own."""
    findings = said(1, [HERE])
    then, now = side(findings), side(findings, topic="sandbox.x.ai.results")
    for where, text in ((then, "AI suspects 1 nodule (0.90)."), (now, "AI suspects 1 nodule (0.91).")):
        where.text(bundle(findings, text))
    assert differences(then, now, Tolerance())[0].changes == ()
    now.text(bundle(findings, "AI suspects 1 nodule of the lung (0.90)."))
    assert kinds(differences(then, now, Tolerance())[0]) == ["text"]


def bundle(findings: Findings, conclusion: str) -> Record:
    value = bundle_of(findings, example.SITE)
    told = value.replace(_conclusion(value), conclusion.encode())
    return Record(Place("ai.findings", 0, 0), findings.subject.study_instance_uid.encode(), told, (), NOON)


def _conclusion(value: bytes) -> bytes:
    before, _, rest = value.partition(b'"conclusion":"')
    assert before and DEMONSTRATION.encode() in rest
    return rest.partition(b'"')[0]


def test_other_pixels_cannot_be_compared() -> None:
    then = said(1, [HERE])
    (seen,) = then.images
    now = said(1, images=(seen.model_copy(update={"pixel_sha256": "c" * 64}),))
    found = one_diff(then, now)
    assert (found.changes, found.not_comparable) == ((), "1 image(s) have other pixels than then")


def test_an_image_that_is_gone_cannot_be_compared_and_why() -> None:
    then, now = side(said(1), said(2)), side(said(2), topic="sandbox.x.ai.results")
    now.letter(letter(1))
    gone, same = differences(then, now, Tolerance())
    assert (gone.changes, same.changes, same.not_comparable) == ((), (), "")
    said_why = "study 1.2.1: StudyIncomplete: the archive does not hold it; a replay does not come back to it"
    assert (gone.not_comparable, gone.failed) == (f"now a dead letter of analyse: StudyIncomplete: {said_why}", False)
    now.result(record(said(1, sequence=32), "sandbox.x.ai.results"))
    assert kinds(differences(then, now, Tolerance())[0]) == [], "a later state was answered"


def gone(number: int) -> RadstreamError:
    """As the guard of a replay sees it."""
    said_why = "StudyIncomplete: the archive does not hold it; a replay does not come back to it"
    return Rejected("analyse", f"study {uid(number)}", said_why)


def _of_a_replay(words: str) -> str:
    return f"{words}; a replay does not come back to it"


def letter(number: int, sequence: int = 16, error: Exception | None = None, step: str = "analyse") -> Record:
    return put_aside(request(number, sequence), error or gone(number), step)


def put_aside(record: Record, error: Exception, step: str) -> Record:
    out = dead_letter(record, step, error, 1)
    return Record(Place(f"sandbox.{NAME}.{out.topic}", 0, 0), out.key, out.value, out.headers, NOON)


def request(number: int, sequence: int = 16, topic: str = "ai.requests", priority: Priority = Priority.ROUTINE) -> Record:
    subject = said(number, sequence=sequence).subject
    asked = AnalysisRequested(id=example.findings().analysis_id, time=NOON, subject=subject, images=(image(1),), priority=priority)
    return Record(Place(topic, 0, number), str(uid(number)).encode(), asked.model_dump_json().encode(), (), NOON)


def test_what_only_one_of_them_said() -> None:
    found = differences(side(said(1)), side(said(2), topic="sandbox.x.ai.results"), Tolerance())
    assert [kinds(one) for one in found] == [["only-then"], ["only-now"]]


def test_events_that_were_decided_otherwise() -> None:
    then, now = side(said(1), said(1, sequence=32)), side(said(1, sequence=32), topic="sandbox.x.ai.results")
    then.request(request(1, 32))
    now.request(request(1, 16))
    now.request(request(1, 32, f"sandbox.{NAME}.ai.requests.stat", Priority.STAT))
    (found,) = differences(then, now, Tolerance())
    assert [change.words for change in found.changes] == [
        "2 state(s) then, 1 now",
        "lane routine then, STAT now",
        "priority routine then, stat now",
    ]


def test_the_last_state_counts_and_a_repetition_is_none() -> None:
    first, last = said(1, [HERE]), said(1, [THERE], sequence=32)
    then = side(last, first, last, first)
    assert differences(then, side(first, last), Tolerance())[0].changes == ()
    assert then.states((str(uid(1)), last.service)) == 2


def test_every_service_speaks_for_itself() -> None:
    devices = example.devices_alone(said(1).subject)
    found = differences(side(said(1), devices), side(said(1, [HERE]), devices), Tolerance())
    assert [(one.service, bool(one.changes)) for one in found] == [(devices.service, False), (said(1).service, True)]


def test_what_was_published_stands_but_does_not_count() -> None:
    live = side(said(1))
    published = said(1, [HERE], sequence=19, analysis_id=said(9).analysis_id)
    live.result(record(published, cause="sandbox.last-week.ai.results/0/1"))
    live.result(record(published.model_copy(update={"subject": said(1, sequence=20).subject, "verified_at": NOON})))
    key = (str(uid(1)), published.service)
    withdrawn = said(1, sequence=21, reason=NotAnalysedReason.MODEL_RECALLED)
    withdrawn = withdrawn.model_copy(update={"analysis_id": identity("recalled", str(published.analysis_id))})
    live.result(replace(record(withdrawn), headers=()))
    assert (live.latest[key].sequence, live.states(key), live.standing[key].sequence) == (16, 1, 21)


def test_of_requests_and_dead_letters_the_last_that_counts() -> None:
    found = Side()
    for sequence in (32, 16):
        found.request(request(1, sequence))
        found.letter(letter(1, sequence))
    (told,) = found.letters.values()
    assert (found.asked[uid(1)].sequence, {one.sequence for one in told.values()}) == (32, {16, 32})
    none = Side(counts=lambda subject, record: False)
    none.request(request(1))
    none.letter(letter(1))
    assert not none.asked and not none.letters


def test_what_was_answered_after_all_can_be_compared() -> None:
    now = side(said(1), topic="sandbox.x.ai.results")
    now.letter(letter(1))
    assert differences(side(said(1)), now, Tolerance())[0].not_comparable == ""


def test_measures() -> None:
    def measured(value: float, unit: str = "mm") -> Findings:
        output = example.measure().model_copy(update={"value": value, "unit": unit})
        return said(1, images=(example.image(output, probability=0.2),))

    for value, unit, expected in ((43.54, "mm", []), (43.6, "mm", ["outputs"]), (43.5, "cm", ["outputs"])):
        assert kinds(one_diff(measured(43.5), measured(value, unit))) == expected


def test_of_what_was_said_live_only_answers_to_what_the_replay_read_count() -> None:
    counts = of_requests((Span("ai.requests", 0, 5, 7), Span("ai.requests", 1, 0, 1)))
    inside = ["ai.requests/0/5", "ai.requests/0/6", "ai.requests/1/0"]
    outside = ["ai.requests/0/4", "ai.requests/0/7", "ai.requests/1/1", "ai.requests.stat/0/5", "nothing", "a/b/c"]
    subject = said(1).subject
    for cause in inside:
        assert counts(subject, record(said(1), cause=cause))
    for cause in outside:
        headers = (("cause", cause.encode()),)
        assert not counts(subject, replace(record(said(1)), headers=headers))


def test_what_came_after_the_last_input_does_not_count_but_what_a_timer_made_does() -> None:
    new = side(said(1, minutes=5), said(2, minutes=12), topic="sandbox.x.ai.results")
    counts = until(minutes(10), new)
    live = [(said(1, minutes=10), True), (said(1, minutes=11), False), (said(2, minutes=12), True), (said(2, minutes=13), False)]
    assert [counts(one.subject, record(one)) for one, _ in live] == [expected for _, expected in live]
    assert not counts(said(3, minutes=11).subject, record(said(3)))


def test_records_that_cannot_be_read_are_counted() -> None:
    found = Side(frozenset({"1.2.1"}))
    broken = Record(Place("ai.results", 0, 0), b"1.2.1", b"{", (), NOON)
    for take in (found.result, found.text, found.request):
        take(broken)
        take(replace(broken, key=b"1.2.2"))
    assert found.unreadable == 3
    found.letter(broken)
    assert len(found.other_letters) == 1


def test_a_release_goes_on_only_when_nothing_stands_against_it() -> None:
    same = one_diff(said(1), said(1))
    other = one_diff(said(1), said(1, [HERE]))
    gone = replace(same, not_comparable="gone")
    for studies, unfinished, allowed, expected in (
        ((same,), False, False, True),
        ((same, other), False, True, False),
        ((same, gone), False, False, False),
        ((same, gone), False, True, True),
        ((same,), True, True, False),
    ):
        diff = Diff("a", "b", studies, unfinished=unfinished)
        assert diff.is_clean(allow_not_comparable=allowed) is expected


@pytest.mark.parametrize(
    "error",
    [
        ModelFailed("analyse", "study 1", "no usable answer"),
        InvalidResource("analyse", "study 1", "cannot be decoded"),
        Rejected("analyse", "study 1", "ItemNotServed: HTTP status 500; a replay does not come back to it"),
        RuntimeError("boom"),
    ],
)
def test_a_model_or_a_step_that_gives_up_is_never_excused(error: Exception) -> None:
    then, now = side(said(1), said(2)), side(said(2), topic=f"sandbox.{NAME}.ai.results")
    now.letter(letter(1, error=error))
    found = Diff("a", "b", differences(then, now, Tolerance()))
    assert [one.failed for one in found.studies] == [True, False]
    assert type(error).__name__ in found.studies[0].not_comparable or "ItemNotServed" in found.studies[0].not_comparable
    assert not found.is_clean(allow_not_comparable=True)


def test_what_gave_up_then_for_the_same_reason_is_no_difference() -> None:
    failed = ModelFailed("analyse", "study 1", "no usable answer")
    then, now = side(said(2)), side(said(2), topic=f"sandbox.{NAME}.ai.results")
    now.letter(letter(1, error=failed))
    then.letter(letter(1, error=failed))
    found = Diff("a", "b", differences(then, now, Tolerance()))
    assert found.is_clean(allow_not_comparable=False)
    assert [(one.study_instance_uid, one.compared) for one in found.given_up] == [(uid(1), False)]
    assert found.studies[0].given_up == "a dead letter of analyse: ModelFailed: study 1: no usable answer"
    then.result(record(said(1)))
    assert not Diff("a", "b", differences(then, now, Tolerance())).is_clean(allow_not_comparable=True), "it was sent again then"


def test_what_gave_up_then_for_another_reason_is_a_failure_of_what_runs_now() -> None:
    then, now = side(said(2)), side(said(2), topic=f"sandbox.{NAME}.ai.results")
    then.letter(letter(1, error=ModelFailed("analyse", "study 1", "out of memory")))
    now.letter(letter(1, error=ModelFailed("analyse", "study 1", "the new weights give NaN")))
    found = Diff("a", "b", differences(then, now, Tolerance()))
    assert ([one.failed for one in found.studies], found.given_up) == ([True, False], ())
    assert not found.is_clean(allow_not_comparable=True)


@pytest.mark.parametrize(
    ("live", "replayed"),
    [
        (
            ModelFailed("analyse", "ai.requests/0/1", "no answer"),
            ModelFailed("analyse", f"sandbox.{NAME}.ai.requests/0/7", "no answer"),
        ),
        (
            ItemNotServed("analyse", "study 1", "status 500"),
            Rejected("analyse", "study 1", _of_a_replay("ItemNotServed: status 500")),
        ),
        (
            StudyIncomplete("analyse", "study 1", "2 missing"),
            Rejected("analyse", "study 1", _of_a_replay("StudyIncomplete: 3 missing")),
        ),
    ],
)
def test_a_reason_is_the_same_wherever_the_record_stands_and_however_a_replay_words_it(
    live: Exception, replayed: Exception
) -> None:
    then, now = side(said(2)), side(said(2), topic=f"sandbox.{NAME}.ai.results")
    then.letter(letter(1, error=live))
    now.letter(letter(1, error=replayed))
    (one,) = Diff("a", "b", differences(then, now, Tolerance())).given_up
    assert (one.study_instance_uid, one.not_comparable) == (uid(1), "")


def test_one_service_that_gives_up_is_no_word_of_another() -> None:
    devices = example.devices_alone(said(1).subject)
    then, now = side(said(1), devices), side(said(1), topic=f"sandbox.{NAME}.ai.results")
    now.letter(letter(1, error=RuntimeError(), step=f"analyse.{devices.service}"))
    assert [one.failed for one in differences(then, now, Tolerance())] == [True, False]


def test_a_report_that_can_no_longer_be_made_is_told() -> None:
    findings = said(1, [HERE])
    then, now = side(findings), side(findings, topic=f"sandbox.{NAME}.ai.results")
    then.text(bundle(findings, "One nodule."))
    assert kinds(differences(then, now, Tolerance())[0]) == ["text"], "a report then, none now"
    now.letter(put_aside(record(findings, f"sandbox.{NAME}.ai.results"), RuntimeError("boom"), "report"))
    found = Diff("a", "b", differences(then, now, Tolerance()))
    assert found.studies[0].not_comparable == "now a dead letter of report: RuntimeError: unexpected"
    assert not found.is_clean(allow_not_comparable=True)


def test_a_dead_letter_of_no_study_counts_unless_it_was_one_then() -> None:
    message = Record(Place("hl7.v2.raw", 0, 3), b"RIS|H", b"MSH|broken", (("ce_id", b"m-1"),), NOON)
    then, now = side(said(1)), side(said(1), topic=f"sandbox.{NAME}.ai.results")
    now.letter(put_aside(message, InvalidResource("normalise", "hl7.v2.raw/0/3", "broken"), "normalise"))
    studies = differences(then, now, Tolerance())
    assert failures(then, now) == ("a dead letter of normalise: InvalidResource: hl7.v2.raw/0/3: broken",)
    assert not Diff("a", "b", studies, failures=failures(then, now)).is_clean(allow_not_comparable=True)
    then.awaited = frozenset(now.twins)
    then.letter(put_aside(message, InvalidResource("normalise", "hl7.v2.raw/0/3", "broken"), "normalise"))
    assert failures(then, now) == ()
    then.letter(put_aside(message, InvalidResource("deliver", "x", "broken"), "deliver"))
    assert (len(then.twins), then.other_letters) == (1, {}), "live, only what the replay has too is kept"


def test_where_nothing_was_compared_nothing_was_shown() -> None:
    assert not Diff("a", "b").is_clean(allow_not_comparable=True)
    then, now = side(said(1)), side(topic=f"sandbox.{NAME}.ai.results")
    now.letter(letter(1))
    assert not Diff("a", "b", differences(then, now, Tolerance())).is_clean(allow_not_comparable=True)


def test_among_many_exactly_those_that_were_changed_are_named() -> None:
    """By another way: each study is changed, or not, when it is made."""
    drawn = random.Random(8)
    changed, then, now = set(), [], []
    for number in range(1, 301):
        places = [(drawn.uniform(0, 2000), drawn.uniform(0, 1500), 60.0, 80.0) for _ in range(drawn.randint(0, 3))]
        score = drawn.uniform(0.2, 0.8)
        then.append(said(number, places, probability=score))
        match drawn.randint(0, 4):
            case 0 if places:
                places, other = [(left + 30, *rest) for left, *rest in places], True
            case 1:
                score, other = score + 0.1, True
            case 2 if places:
                places, other = places[1:], True
            case _:  # the same, but for rounding
                score, other = score + 1e-5, False
        now.append(said(number, places, probability=score, model=OTHER_MODEL))
        changed |= {str(uid(number))} if other else set()
    drawn.shuffle(now)
    found = differences(side(*then), side(*now), Tolerance())
    assert {one.study_instance_uid for one in found if one.changes} == changed
    assert len(found) == 300

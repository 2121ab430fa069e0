"""A radiologist's report that is signed locks its study: what the AI says afterwards is marked, once and for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.errors import MalformedMessage
from schemas.events import OrderStatus, ReportAmended, ReportDrafted, ReportEvent, ReportSigned
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, NotAnalysed, NotAnalysedReason
from schemas.ports import Outgoing
from streams.case_state import Policy
from streams.sequences import AFTER_VERIFICATION
from streams.study_settings import NewsSettings
from streams.verification import is_of
from tests.contract.example_findings import DEVICES
from tests.unit.answers import ORDER, answer_to, late_of, record, requested, result
from tests.unit.cases import Hospital, follows, minutes, order, record_of, report, said, study
from tests.unit.receiver import Receiver

SIGNED = report(ReportSigned, accession="A1", at=2, occurred=1.5)


@pytest.fixture
def policy() -> Policy:
    return Policy(deadline=timedelta(minutes=10))


async def hears(hospital: Hospital, findings: Findings, at: float = 3) -> list[Outgoing]:
    """What `correlate` makes of it, without what it says of discrepancies."""
    outs = await hospital.reads(record(result(findings), at=at))
    return [out for out in outs if out.topic == "ai.results"]


def marks(outs: list[Outgoing]) -> list[tuple[str, int, object]]:
    return [(one.service, one.subject.sequence, one.verified_at) for one in map(said, outs) if isinstance(one, Findings)]


async def test_an_answer_that_came_after_the_report_was_signed_is_told_again_and_says_so(hospital: Hospital) -> None:
    request = await requested(hospital)
    answer = answer_to(request)
    assert await hospital.happens(SIGNED) == []
    (out,) = await hears(hospital, answer)
    marked = said(out)
    assert isinstance(marked, Findings)
    assert (marked.analysis_id, marked.verified_at) == (answer.analysis_id, minutes(1.5))
    assert marked.subject.sequence == answer.subject.sequence + AFTER_VERIFICATION
    assert marked.model_copy(update={"subject": answer.subject, "verified_at": None}) == answer
    (again,) = await hears(hospital, answer, at=99)
    assert again.value == out.value
    assert await hospital.reads(record(out, at=4)) == [], "our own word is no news"


async def test_of_a_report_only_what_verification_needs_is_kept(hospital: Hospital) -> None:
    await hospital.happens(SIGNED.model_copy(update={"text": "DOE^JANE: no nodule", "addendum": "but a mass"}))
    about = said(await requested(hospital)).subject
    async with hospital.cases.correlation() as rows:
        (kept,) = await rows.reports_of(about)
    assert (kept.text, kept.addendum, kept.patients) == ("", "", ())
    assert (kept.id, kept.sender) == (SIGNED.id, SIGNED.sender)


async def test_what_was_told_before_stays_as_it_was_told(hospital: Hospital) -> None:
    """Read again after the report was signed, too."""
    request = await requested(hospital)
    answer = answer_to(request)
    assert await hears(hospital, answer, at=1.9) == []
    assert await hospital.happens(SIGNED) == []
    assert await hears(hospital, answer, at=5) == []
    assert await hospital.happens(report(ReportAmended, accession="A1", at=6)) == []


async def test_an_answer_that_was_read_before_the_report_which_came_before_it(hospital: Hospital) -> None:
    """Two topics are read in any order; when each came to us counts."""
    request = await requested(hospital)
    answer = answer_to(request)
    assert await hears(hospital, answer, at=3) == []
    first, again = [[out for out in await hospital.happens(SIGNED) if out.topic == "ai.results"] for _ in range(2)]
    assert marks(first) == [(CHEST_RADIOGRAPH_FINDINGS, answer.subject.sequence + AFTER_VERIFICATION, minutes(1.5))]
    assert again == first, "lost between commit and log, it is said again"
    assert await hears(hospital, answer, at=77) == first, "to the last header, whatever made us say it"
    outs = await hospital.happens(report(ReportSigned, accession="A1", at=2.5))
    assert [out for out in outs if out.topic == "ai.results"] == [], "nothing that another report led to"


async def test_an_answer_that_lay_on_the_log_before_he_signed(hospital: Hospital) -> None:
    """`correlate` was away, its receivers were not."""
    request = await requested(hospital)
    await hospital.happens(SIGNED)
    assert await hears(hospital, answer_to(request), at=1.9) == []


@pytest.mark.parametrize("kind", [ReportSigned, ReportAmended])
async def test_every_service_is_marked(hospital: Hospital, kind: type[ReportEvent]) -> None:
    request = await requested(hospital)
    await hospital.happens(report(kind, accession="A1", at=2))
    answer = answer_to(request, DEVICES)
    assert marks(await hears(hospital, answer)) == [(DEVICES, answer.subject.sequence + AFTER_VERIFICATION, minutes(2))]


async def test_a_draft_locks_nothing(hospital: Hospital) -> None:
    request = await requested(hospital)
    await hospital.happens(report(ReportDrafted, accession="A1", at=2))
    assert await hears(hospital, answer_to(request)) == []


@pytest.mark.parametrize(
    ("words", "since"),
    [
        ([report(ReportSigned, accession="A1", at=1), report(ReportDrafted, accession="A1", at=2)], None),
        # the draft is the older one, whenever it came
        ([report(ReportSigned, accession="A1", at=1), report(ReportDrafted, accession="A1", at=2, occurred=0.5)], 1),
        # of another sender, another report or another procedure: nobody took anything back
        ([report(ReportSigned, accession="A1", at=1), report(ReportDrafted, accession="A1", at=2, sender="PACS")], 1),
        ([report(ReportSigned, accession="A1", at=1), report(ReportDrafted, accession="A1", filler="F9", at=2)], 1),
        ([report(ReportSigned, accession="A1", at=1), report(ReportDrafted, accession="A1", service="71020", at=2)], 1),
        # signed again, amended
        ([report(ReportSigned, accession="A1", at=0.5), report(ReportAmended, accession="A1", at=2)], 0.5),
        (
            [
                report(ReportSigned, accession="A1", at=0.5),
                report(ReportDrafted, accession="A1", at=1),
                report(ReportAmended, accession="A1", at=2),
            ],
            2,
        ),
        # two reports: since the first; clocks of two senders are not compared
        ([report(ReportSigned, accession="A1", at=1), report(ReportSigned, accession="A1", at=2, occurred=-9, sender="PACS")], 1),
        # of another study
        ([report(ReportSigned, accession="A2", at=1)], None),
    ],
)
async def test_since_when_it_is_locked(hospital: Hospital, words: list[ReportEvent], since: float | None) -> None:
    request = await requested(hospital)
    for word in (*words, *words):
        await hospital.happens(word)
    found = [at for _, _, at in marks(await hears(hospital, answer_to(request)))]
    assert found == ([] if since is None else [minutes(since)])


@pytest.mark.parametrize(
    ("numbers", "joined"),
    [
        ({"placer": "P1"}, True),
        ({"filler": "F1"}, True),
        ({"placer": "P1", "filler": "F1"}, True),
        ({"placer": "P1", "filler": "F9"}, False),
        ({"placer": "P1", "accession": "A9"}, False),
        # a filler order number that stands for an accession number which was not sent
        ({"placer": "P1", "filler": "F1", "accession": "F1"}, True),
        ({"placer": "P9", "filler": "F9", "accession": "F9"}, False),
    ],
)
@pytest.mark.parametrize("report_first", [True, False])
async def test_by_the_numbers_of_the_order(hospital: Hospital, numbers: dict[str, str], joined: bool, report_first: bool) -> None:
    await hospital.happens(order(placer="P1", filler="F1", accession="A1"))
    (request,) = await hospital.happens(study(at=1))
    signed = report(ReportSigned, at=2, **numbers)
    assert is_of(signed, answer_to(request).subject) is joined, "whoever asks, and whatever the database left out"
    outs = await hospital.happens(signed) if report_first else []
    outs += await hears(hospital, answer_to(request))
    outs += [] if report_first else await hospital.happens(signed)
    assert bool(marks([out for out in outs if out.topic == "ai.results"])) is joined


async def test_by_the_order_that_replaces_the_one_of_the_study(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    before = said(next(iter(await hospital.happens(study(at=1)))))
    (request,) = await hospital.happens(order(placer="P2", accession="A2", at=1.5, replaces=before.subject.orders))
    answer = answer_to(request)
    assert await hears(hospital, answer) == []
    outs = await hospital.happens(report(ReportSigned, accession="A2", at=2))
    assert [at for _, _, at in marks([out for out in outs if out.topic == "ai.results"])] == [minutes(2)]


async def test_what_receivers_are_not_told_is_not_marked(hospital: Hospital) -> None:
    hospital.policy = Policy(news=NewsSettings(bulk_ae_titles=("PRIORS",)))
    await hospital.happens(ORDER)
    (request,) = await hospital.happens(study(at=1, sent_by="PRIORS"))
    await hospital.happens(SIGNED)
    assert await hears(hospital, answer_to(request)) == []
    assert await hospital.happens(SIGNED) == []


async def test_nor_why_a_study_is_not_analysed(hospital: Hospital) -> None:
    request = await requested(hospital)
    await hospital.happens(SIGNED)
    why = NotAnalysed(reason=NotAnalysedReason.WRONG_VIEW, explanation="lateral")
    refused = Findings(analysis_id=answer_to(request).analysis_id, subject=said(request).subject, not_analysed=why)
    assert await hears(hospital, refused) == []


async def test_a_study_that_grows_after_he_signed_is_marked_again(hospital: Hospital) -> None:
    first = await requested(hospital)
    await hears(hospital, answer_to(first), at=1.5)
    await hospital.happens(SIGNED)
    (second,) = await hospital.happens(study(at=3, images=2))
    assert follows(said(second), said(first))
    answer = answer_to(second)
    assert marks(await hears(hospital, answer, at=4)) == [
        (CHEST_RADIOGRAPH_FINDINGS, answer.subject.sequence + AFTER_VERIFICATION, minutes(1.5))
    ]


async def test_receivers_end_with_the_mark_and_later_states_replace_it(hospital: Hospital) -> None:
    request = await requested(hospital)
    await hospital.happens(SIGNED)
    answer = answer_to(request)
    (marked,) = await hears(hospital, answer)
    receiver = Receiver(hospital)
    await receiver.hears(marked, result(answer), marked)
    assert receiver.report["status"] == "partial"
    assert receiver.live == 3
    # late at 16n - 1 after a marked 16(n-1) + 1, and its answer after both
    (second,) = await hospital.happens(study(at=20, images=2))
    late = await late_of(hospital)
    assert said(marked).subject.sequence < said(late).subject.sequence < said(second).subject.sequence
    await receiver.hears(late, marked)
    assert (receiver.report["status"], receiver.live) == ("cancelled", 0)
    withdrawn = await hospital.happens(order(placer="P1", accession="A1", at=30, status=OrderStatus.CANCELLED))
    await receiver.hears(result(answer_to(second)), *withdrawn, marked)
    assert (receiver.report["status"], receiver.live) == ("cancelled", 0)


@pytest.mark.parametrize("value", [b"{", b'{"text": "DOE^JANE"}'])
async def test_what_is_no_report(hospital: Hospital, value: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        await hospital.reads(replace(record_of(SIGNED), value=value))
    assert "DOE" not in str(caught.value)

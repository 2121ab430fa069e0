"""A study that waits for its order, and its timers."""

from __future__ import annotations

from schemas.findings import NotAnalysedReason
from schemas.study_events import AnalysisRequested
from streams.case_state import Policy
from streams.steps.correlate import order_wait_over
from tests.unit.cases import JANE, Hospital, follows, minutes, numbers, order, reason, said, study


async def test_the_order_never_comes(hospital: Hospital) -> None:
    await hospital.happens(study())
    assert await hospital.time_passes(0.9) == []
    (out,) = await hospital.time_passes(1)
    request = said(out)
    assert isinstance(request, AnalysisRequested)
    assert request.subject.orders == ()
    assert request.subject.patient == JANE
    assert request.subject.triggered_at == minutes(1)
    assert await hospital.due(99) == []
    assert await hospital.happens(study()) == []  # redelivered: the timer has told it, and no new wait
    assert await hospital.due(99) == []


async def test_an_order_after_the_wait_issues_the_study_again(hospital: Hospital) -> None:
    await hospital.happens(study())
    (out,) = await hospital.time_passes(1)
    late = await hospital.answer(order(placer="P1", accession="A1", at=5))
    assert numbers(late) == ["P1 - A1"]
    assert follows(late, said(out))
    assert isinstance(late, AnalysisRequested)
    assert str(late.id).encode() != dict(out.headers)["ce_id"]


async def test_no_accession_number_waits_and_goes_on_as_dicom_says(hospital: Hospital) -> None:
    assert await hospital.happens(study(accession=None)) == []
    (out,) = await hospital.time_passes(1)
    assert said(out).subject.accession_number is None
    assert said(out).subject.patient == JANE
    corrected = await hospital.happens(study(accession="A1", at=3))
    assert corrected == []  # now it can have an order: waits for it
    request = await hospital.answer(order(placer="P1", accession="A1", at=3.5))
    assert follows(request, said(out))


async def test_without_order_refused(hospital: Hospital) -> None:
    hospital.policy = Policy(without_order="refuse")
    await hospital.happens(study())
    (out,) = await hospital.time_passes(1)
    assert out.topic == "ai.results"
    assert reason(said(out)) is NotAnalysedReason.NO_ORDER
    assert dict(out.headers)["ce_type"] == b"org.radstream.findings.v1"
    assert reason(await hospital.answer(order(placer="P1", accession="A1", at=2))) is None


async def test_a_crash_after_the_timer_told_and_before_it_was_written(hospital: Hospital) -> None:
    await hospital.happens(study())
    (timer,) = await hospital.due(1)
    first = await hospital.time_passes(1)
    await hospital.cases.put_due(timer)  # never removed
    assert await hospital.time_passes(2) == first


async def test_a_timer_that_fires_stays_until_its_outputs_are_written(hospital: Hospital) -> None:
    await hospital.happens(study())
    (timer,) = await hospital.due(1)
    await order_wait_over(timer, minutes(1), cases=hospital.cases, policy=hospital.policy)
    assert await hospital.due(1) == [timer]


async def test_a_timer_of_an_older_event_does_not_end_the_wait_of_a_newer(hospital: Hospital) -> None:
    await hospital.happens(study())
    await hospital.happens(study(at=0.5, images=2))
    assert await hospital.time_passes(1) == []
    (out,) = await hospital.time_passes(1.5)
    request = said(out)
    assert isinstance(request, AnalysisRequested)
    assert len(request.images) == 2
    assert follows(request, None)


async def test_the_order_ends_the_wait_of_every_event_of_its_study(hospital: Hospital) -> None:
    await hospital.happens(study())
    await hospital.happens(study(at=0.5, images=2))
    assert len(await hospital.due(99)) == 2
    await hospital.answer(order(placer="P1", accession="A1", at=0.7))
    assert await hospital.due(99) == []


async def test_a_longer_wait_set_meanwhile_loses_no_study(hospital: Hospital) -> None:
    await hospital.happens(study())
    hospital.policy = Policy(order_wait=Policy().order_wait * 5)
    assert await hospital.time_passes(1) == []
    assert len(await hospital.time_passes(5)) == 1


async def test_who_repeats_it_begins_no_wait_anew(hospital: Hospital) -> None:
    """Several sources notice one study, each at its time."""
    for n in range(6):
        assert await hospital.happens(study(at=n / 6, source=f"source-{n}")) == []
    (out,) = await hospital.time_passes(1)
    assert isinstance(said(out), AnalysisRequested)
    assert await hospital.due(99) == []


async def test_one_image_more_does(hospital: Hospital) -> None:
    assert await hospital.happens(study()) == []
    assert await hospital.happens(study(at=0.5, images=2)) == []
    assert await hospital.time_passes(1.4) == []
    (out,) = await hospital.time_passes(1.5)
    assert len(said(out).images) == 2

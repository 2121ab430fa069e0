"""What makes a new state of a study, and what does not."""

from __future__ import annotations

from schemas.events import OrderStatus, Priority
from schemas.findings import NotAnalysedReason
from schemas.study_events import AnalysisRequested
from tests.unit.cases import JANE, Hospital, follows, gone, numbers, order, reason, said, study


async def test_one_more_image_is_a_new_state(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    first = await hospital.answer(study())
    second = await hospital.answer(study(at=2, images=2))
    assert isinstance(second, AnalysisRequested)
    assert follows(second, first)
    assert second.subject.revision != first.subject.revision
    assert await hospital.happens(study()) == []  # the older event again: the state stays
    assert await hospital.answer(study(at=2, images=2)) == second


async def test_an_image_that_goes_away_again_is_a_state_of_its_own(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    first = await hospital.answer(study())
    second = await hospital.answer(study(at=1, images=2))
    third = await hospital.answer(study(at=2))
    assert follows(third, second)
    assert third.subject.revision == first.subject.revision
    assert third.model_dump_json() != first.model_dump_json()
    assert isinstance(first, AnalysisRequested)
    assert isinstance(third, AnalysisRequested)
    assert third.id != first.id


async def test_a_study_that_is_gone_is_withdrawn_where_it_was_told(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    request = await hospital.answer(study(at=1))
    withdrawn = await hospital.answer(gone(at=2))
    assert reason(withdrawn) is NotAnalysedReason.NO_IMAGE
    assert follows(withdrawn, request)
    for name in ("accession_number", "patient", "orders"):
        assert getattr(withdrawn.subject, name) == getattr(request.subject, name)
    # an order that still speaks of it finds it gone
    assert await hospital.answer(order(placer="P1", accession="A1", at=3)) == withdrawn
    back = await hospital.answer(study(at=4))
    assert isinstance(back, AnalysisRequested)
    assert follows(back, withdrawn)


async def test_nobody_hears_of_a_study_that_came_and_went(hospital: Hospital) -> None:
    assert await hospital.happens(gone()) == []
    assert await hospital.happens(study(at=1)) == []  # waits for its order
    assert await hospital.happens(gone(at=1.5)) == []
    assert await hospital.time_passes(9) == []
    assert await hospital.happens(order(placer="P1", accession="A1", at=10)) == []


async def test_a_study_without_an_order_is_withdrawn_at_once(hospital: Hospital) -> None:
    await hospital.happens(study())
    (told,) = await hospital.time_passes(2)
    withdrawn = await hospital.answer(gone(at=3))
    assert reason(withdrawn) is NotAnalysedReason.NO_IMAGE
    assert withdrawn.subject.patient == said(told).subject.patient == JANE


async def test_clocks_of_two_sources_are_not_compared(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    ahead = study(at=60, source="webhook")
    await hospital.happens(ahead)
    second = await hospital.answer(study(at=2, images=2))
    assert isinstance(second, AnalysisRequested)
    assert len(second.images) == 2
    assert await hospital.happens(ahead) == []
    assert await hospital.answer(study(at=2, images=2)) == second


async def test_several_sources_for_one_study_give_one_request(hospital: Hospital) -> None:
    """Each request on the log is an analysis; the one who made the state tells it again, should it have been lost (rule 2)."""
    await hospital.happens(order(placer="P1", accession="A1"))
    first = await hospital.answer(study())
    assert await hospital.happens(study(at=1, source="qido")) == []
    assert await hospital.happens(study(at=2)) == []
    assert await hospital.answer(study()) == first
    assert await hospital.answer(order(placer="P1", accession="A1")) == first


async def test_two_sources_wait_for_the_same_order(hospital: Hospital) -> None:
    assert await hospital.happens(study()) == []
    assert await hospital.happens(study(at=0.5, source="qido")) == []
    (out,) = await hospital.time_passes(1.5)  # the wait of the newest
    assert await hospital.happens(study(at=3, source="qido")) == []
    late = await hospital.answer(order(placer="P1", accession="A1", at=5))
    assert follows(late, said(out))
    assert await hospital.due(99) == []


async def test_a_corrected_accession_number_moves_the_study(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    await hospital.happens(order(placer="P2", accession="A2"))
    assert numbers(await hospital.answer(study())) == ["P1 - A1"]
    moved = await hospital.answer(study(accession="A2", at=1))
    assert numbers(moved) == ["P2 - A2"]
    assert await hospital.happens(order(placer="P1", accession="A1", at=2, status=OrderStatus.CANCELLED)) == []


async def test_a_status_message_changes_nothing(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1", priority=Priority.STAT))
    first = await hospital.answer(study())
    for at, status in enumerate((OrderStatus.ON_HOLD, OrderStatus.IN_PROGRESS, OrderStatus.COMPLETED), 1):
        (out,) = await hospital.happens(order(placer="P1", accession="A1", at=at, status=status))
        assert said(out) == first
        assert out.topic == "ai.requests.stat"


async def test_stat_goes_on_its_own_topic_also_when_it_becomes_so_later(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    first = await hospital.answer(study())
    (out,) = await hospital.happens(order(placer="P1", accession="A1", at=1, priority=Priority.STAT))
    assert out.topic == "ai.requests.stat"
    request = said(out)
    assert isinstance(request, AnalysisRequested)
    assert request.priority is Priority.STAT
    assert follows(request, first)

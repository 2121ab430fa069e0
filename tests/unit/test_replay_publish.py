"""What a replay said becomes what receivers are told: once, above what stands, and the audit knew before."""

from __future__ import annotations

import pytest

from schemas.findings import Findings, NotAnalysedReason
from streams.replay.publishing import Approval, published_id
from tests.unit.cases import minutes
from tests.unit.published_replays import NOW, SANDBOX, WHO, At, Log
from tests.unit.replays import HERE, NAME, OTHER_MODEL, said, uid


@pytest.fixture
def log() -> Log:
    return Log()


async def test_it_is_told_of_the_study_as_it_stands_and_the_audit_knew_before(log: Log) -> None:
    standing = said(1, messages=())
    await log.live(standing)
    await log.replayed(NOW)
    await log.publishes(1)
    _, told = log.results()
    assert told.analysis_id == published_id(NAME, NOW) != NOW.analysis_id
    assert told.subject == standing.subject.model_copy(update={"sequence": 19, "triggered_at": minutes(60)})
    assert (told.findings, told.images, told.model) == (NOW.findings, NOW.images, OTHER_MODEL)
    (act,) = log.acts()
    assert (act.by, act.reason, act.replay, act.replaced, act.sequence) == (WHO.by, WHO.reason, NAME, 16, 19)
    assert (act.analysis_id, act.study_instance_uid, act.time) == (told.analysis_id, uid(1), minutes(60))
    record = log.records("ai.results")[1]
    (cause,) = log.records(SANDBOX)
    assert record.header("cause") == str(cause.place)


async def test_again_it_changes_nothing(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(NOW)
    await log.publishes()
    before = log.results(), log.acts()
    one = await log.publishes(clock=At(99))
    assert (one.nothing, log.results(), log.acts()) == ("was published before", *before)


async def test_what_was_cut_off_after_the_act_is_finished_to_the_same_bytes(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(NOW)
    await log.publishes()
    told = log.records("ai.results")[1]
    partition = log.topics["ai.results"][told.place.partition]
    partition.remove(told)
    await log.publishes(clock=At(99))
    again = log.records("ai.results")[1]
    assert (again.value, again.headers, len(log.acts())) == (told.value, told.headers, 1)


async def test_who_finishes_what_another_began_is_on_the_audit_too(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(NOW)
    await log.publishes()
    told = log.records("ai.results")[1]
    log.topics["ai.results"][told.place.partition].remove(told)
    await log.publishes(clock=At(99), who=Approval("Dr C", "it was cut off"))
    again = log.records("ai.results")[1]
    assert (again.value, again.headers) == (told.value, told.headers), "the first act is what the state is made of"
    assert [(act.by, act.reason, act.sequence) for act in log.acts()] == [(WHO.by, WHO.reason, 19), ("Dr C", "it was cut off", 19)]
    assert len({act.id for act in log.acts()}) == 2


async def test_a_second_replay_stands_above_the_first_and_a_fifth_has_no_number(log: Log) -> None:
    await log.live(said(1))
    numbers = []
    for n in range(1, 6):
        log.topics[SANDBOX] = [[], [], [], []]
        await log.replayed(said(1, [HERE] * n, sequence=16))
        numbers.append((await log.publishes(1, replay=f"r{n}")).sequence)
    assert numbers == [19, 22, 25, 28, 0]
    assert [one.subject.sequence for one in log.results()] == [16, 19, 22, 25, 28]


async def test_of_two_replays_that_are_published_at_once_the_first_act_has_the_number(log: Log) -> None:
    """Whoever is second is told, and stands above the first when that is asked for again."""
    await log.live(said(1))
    await log.replayed(NOW)

    async def other() -> None:
        assert (await log.publishes(1, replay="other")).sequence == 19

    log.meanwhile = other
    one = await log.publishes(1)
    assert one.refused.startswith("another replay was published in this place at the same moment")
    assert [(told.subject.sequence, told.analysis_id) for told in log.results()[1:]] == [(19, published_id("other", NOW))]
    log.topics[SANDBOX] = [[], [], [], []]
    await log.replayed(said(1, [HERE, (900.0, 900.0, 50.0, 50.0)]))
    assert (await log.publishes(1)).sequence == 22


async def test_a_number_that_another_was_given_and_never_used_is_passed_over(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(NOW)
    await log.publishes(1, replay="other")
    told = log.records("ai.results")[1]
    log.topics["ai.results"][told.place.partition].remove(told)
    assert (await log.publishes(1)).sequence == 22
    assert [one.subject.sequence for one in log.results()] == [16, 22]


async def test_the_same_replay_published_by_two_at_once_is_told_in_the_same_bytes(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(NOW)

    async def other() -> None:
        await log.publishes(1, clock=At(30))

    log.meanwhile = other
    assert (await log.publishes(1, clock=At(60))).sequence == 19
    _, one, same = log.records("ai.results")
    assert (one.key, one.value, one.headers) == (same.key, same.value, same.headers)
    assert len(log.acts()) == 2, "both have approved it"


@pytest.mark.parametrize(
    ("standing", "sequence"),
    [
        (said(1, sequence=17, verified_at=minutes(0)), 19),
        (said(1, sequence=18, reason=NotAnalysedReason.MODEL_RECALLED), 19),
        (said(1, sequence=20, verified_at=minutes(0)), 22),
        (said(1, sequence=21, reason=NotAnalysedReason.MODEL_RECALLED), 22),
        (said(1, reason=NotAnalysedReason.WRONG_VIEW), 19),
    ],
)
async def test_it_stands_above_whatever_was_said_of_the_answer(log: Log, standing: Findings, sequence: int) -> None:
    await log.live(said(1), standing)
    await log.replayed(NOW)
    assert (await log.publishes(1)).sequence == sequence


async def test_what_is_told_is_never_older_than_what_it_replaces(log: Log) -> None:
    """Whatever the clock of whoever publishes."""
    await log.live(said(1, minutes=90))
    await log.replayed(NOW)
    await log.publishes(1)
    assert log.results()[1].subject.triggered_at == minutes(90)


async def test_that_it_came_after_verification_is_for_correlate_to_say(log: Log) -> None:
    await log.live(said(1), said(1, sequence=17, verified_at=minutes(1)))
    await log.replayed(said(1, [HERE], sequence=17, verified_at=minutes(1)))
    await log.publishes(1)
    told = log.results()[-1]
    assert (told.verified_at, told.subject.sequence) == (None, 19)

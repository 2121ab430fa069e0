"""The original of a letter is not sent behind a corrected copy of it, unless a person says so: the later one would hold."""

from __future__ import annotations

from functools import partial

import pytest

from schemas.errors import BrokerUnavailable
from schemas.hl7v2.admission import Admission
from schemas.hl7v2.site import Site
from streams import topics
from streams.audit.acts import Actor
from streams.dead_letters.acts import discarded, resent
from streams.dead_letters.choosing import Filter, corrected_meanwhile
from streams.dead_letters.discarding import discard, discardable
from streams.dead_letters.letters import Letter
from streams.dead_letters.planning import Plan
from streams.dead_letters.resending import carry_out, correction_of, planned, send_one
from streams.dead_letters.sending import Pace
from streams.dead_letters.standing import read_letters
from streams.existing import Existing
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.dead_letter_topics import CLOCK, MESSAGE, OF, failed, letter_in, original
from tests.unit.dying_log import DyingLog

MENDED = MESSAGE.replace(b"\xff4711", b"4711")
OTHERWISE = MESSAGE.replace(b"\xff4711", b"0815")
COLLEAGUE = Actor("A Colleague", "all of them")


async def plan(log: FakeEventLog, *ids: str, step: str | None = "normalise", original: bool = False) -> Plan:
    wanted = Filter() if ids else Filter(step=step)
    _, found = await planned(log, ids, wanted, ["fhir"], all_open=False, say=lambda _: None, original=original)
    return found


async def correct(log: FakeEventLog, letter: Letter, file: bytes = MENDED, of: Actor = OF) -> None:
    there = Existing(FakeHistory(log))
    sending = await correction_of(there, str(letter.id), file, Site(default_assigner="H"), Admission(), lambda _: None)
    assert sending is not None
    await send_one(log, sending, of, lambda _: None)


def sent(log: FakeEventLog) -> list[bytes]:
    return [record.value for record in log.records(topics.HL7_RAW.name)]


@pytest.mark.parametrize("dies", [1, 2])
async def test_a_correction_that_was_cut_off_is_not_followed_by_the_original(dies: int) -> None:
    log = DyingLog()
    letter = await letter_in(log, failed(original()))
    other = await letter_in(log, failed(original(1, value=OTHERWISE)))
    log.dies = dies
    with pytest.raises(BrokerUnavailable):
        await correct(log, letter)
    log.dies = None
    by_step = await plan(log)
    assert (list(by_step.plain.values()), [one for one, _ in by_step.refused]) == ([other], [letter])
    (line,) = (line for line in by_step.lines() if line.startswith("1 not: "))
    assert all(said in line for said in (str(letter.place), OF.by, "--correct FILE again", "discard", "--original"))
    assert not await carry_out(log, by_step, COLLEAGUE, Pace(1000.0), lambda _: None)
    # nor when it is named, but by a person's word
    named = await plan(log, str(letter.place))
    assert (named.letters, [one for one, _ in named.refused]) == (0, [letter])
    assert sent(log) == [MENDED] * (dies - 1) + [OTHERWISE]
    assert (await plan(log, str(letter.place), original=True)).letters == 1
    # the same correction again finishes it
    await correct(log, letter, of=COLLEAGUE)
    assert (await read_letters(log)).state(letter) == "resent"
    assert len({one.headers for one in log.records(topics.HL7_RAW.name) if one.value == MENDED}) == 1


async def test_a_choice_discards_no_correction_that_was_cut_off() -> None:
    log = DyingLog()
    letter = await letter_in(log, failed(original()))
    other = await letter_in(log, failed(original(1)))
    await log.append([resent(letter, OF, "begun", CLOCK, "ab" * 32), resent(other, OF, "begun", CLOCK)])
    letters = await read_letters(log)
    assert discardable(letters, [], Filter(step="normalise"), all_open=False) == ([other], [letter])
    assert discardable(letters, [str(letter.id)], Filter(), all_open=False) == ([letter], [])


async def test_the_original_stays_behind_its_correction_whatever_is_said_of_the_letter_later() -> None:
    log = DyingLog()
    letter = await letter_in(log, failed(original()))
    await correct(log, letter)
    await discard(log, [letter], OF, CLOCK, lambda _: None)
    assert (await plan(log, str(letter.id))).letters == 0
    assert (await plan(log, str(letter.id), original=True)).letters == 1


async def test_another_letter_with_the_same_record_is_not_sent_either() -> None:
    """Its sender sent it twice; or it was on its way when somebody was cut off, and failed again."""
    log = DyingLog()
    first = await letter_in(log, failed(original(0)))
    log.dies = 2
    with pytest.raises(BrokerUnavailable):
        await carry_out(log, await plan(log), OF, Pace(1000.0), lambda _: None)
    log.dies = None
    (again,) = log.records(topics.HL7_RAW.name)
    came_back = await letter_in(log, failed(again))
    twice = await letter_in(log, failed(original(7)))
    await correct(log, came_back)
    found = await plan(log)
    assert found.letters == 0
    assert {one.id for one, _ in found.refused} == {first.id, twice.id}
    assert all(str(came_back.place) in why for _, why in found.refused)


async def test_nor_is_one_that_somebody_corrects_while_others_are_sent() -> None:
    log = DyingLog()
    values = [OTHERWISE, MESSAGE.replace(b"|P1", b"|P2"), MESSAGE]
    await log.append([failed(original(number, value=value)) for number, value in enumerate(values)])
    there, said, before = Existing(FakeHistory(log)), list[str](), await read_letters(log)
    last = list(before.by_id.values())[-1]

    async def meanwhile(_: float) -> None:
        if MENDED not in sent(log):
            await correct(log, last)

    letters, found = await planned(log, [], Filter(), ["fhir"], all_open=True, say=said.append)
    held = partial(corrected_meanwhile, there, letters)
    assert not await carry_out(log, found, COLLEAGUE, Pace(4.0, lambda: 0.0, meanwhile), said.append, held)
    assert sent(log) == [values[0], MENDED, values[1]]
    assert [line for line in said if str(last.id) in line and "--original" in line]
    assert (await read_letters(log)).state(last) == "resent"


async def test_nor_one_of_which_a_twin_comes_and_is_corrected_meanwhile() -> None:
    log = DyingLog()
    first = await letter_in(log, failed(original()))
    letters, found = await planned(log, [], Filter(), ["fhir"], all_open=True, say=lambda _: None)
    await correct(log, await letter_in(log, failed(original(1))))
    held, said = partial(corrected_meanwhile, Existing(FakeHistory(log)), letters), list[str]()
    assert not await carry_out(log, found, COLLEAGUE, Pace(1000.0), said.append, held)
    assert sent(log) == [MENDED]
    assert any(str(first.id) in line and "holds the same" in line for line in said)
    # what is read on is read once
    assert sum(letters.copies.values()) == 2
    await corrected_meanwhile(Existing(FakeHistory(log)), letters, [first])
    assert sum(letters.copies.values()) == 2


async def test_a_copy_that_fails_again_is_a_letter_that_may_be_sent_as_it_is() -> None:
    log = DyingLog()
    await correct(log, await letter_in(log, failed(original())))
    copy = await letter_in(log, failed(log.records(topics.HL7_RAW.name)[0]))
    found = await plan(log)
    assert (list(found.plain.values()), found.refused) == ([copy], [])


async def test_a_correction_that_the_broker_never_takes_takes_nothing_back() -> None:
    log = DyingLog()
    letter = await letter_in(log, failed(original()))
    log.refuses = lambda one: one.value == MENDED
    await correct(log, letter)
    assert (await read_letters(log)).state(letter) == "open"
    assert (await plan(log)).letters == 1
    # but the one before may be on its way still
    log.dies = 2
    with pytest.raises(BrokerUnavailable):
        await correct(log, letter, OTHERWISE)
    log.dies = None
    await correct(log, letter)
    assert (await read_letters(log)).state(letter) == "sending"
    assert (await plan(log)).letters == 0


async def test_the_same_correction_that_is_refused_later_does_not_take_back_the_first_try() -> None:
    """It may be on the topic: the broker's limit was lowered since."""
    log = DyingLog()
    letter = await letter_in(log, failed(original()))
    log.dies = 2
    with pytest.raises(BrokerUnavailable):
        await correct(log, letter)
    log.dies, log.refuses = None, lambda one: one.value == MENDED
    await correct(log, letter, of=COLLEAGUE)
    assert sent(log) == [MENDED]
    assert (await read_letters(log)).state(letter) == "sending"
    found = await plan(log)
    assert (found.letters, [one for one, _ in found.refused]) == (0, [letter])


async def test_who_sent_it_again_is_named_and_not_who_was_refused_later() -> None:
    log, said = DyingLog(), list[str]()
    letter = await letter_in(log, failed(original()))
    await log.append([resent(letter, OF, "begun", CLOCK), resent(letter, OF, "done", CLOCK)])
    await log.append([resent(letter, COLLEAGUE, "begun", CLOCK), resent(letter, COLLEAGUE, "failed", CLOCK)])
    await planned(log, [str(letter.id)], Filter(), ["fhir"], all_open=False, say=said.append)
    (line,) = said
    assert OF.by in line and COLLEAGUE.by not in line


async def test_what_somebody_begins_to_send_again_is_discarded_no_more() -> None:
    log = DyingLog()
    letter = await letter_in(log, failed(original()))
    for act, state in (
        (discarded(letter, OF, CLOCK), "discarded"),
        (resent(letter, OF, "begun", CLOCK), "sending"),
        (resent(letter, OF, "failed", CLOCK), "open"),
        (resent(letter, OF, "done", CLOCK), "resent"),
        (resent(letter, COLLEAGUE, "begun", CLOCK), "sending"),
        (resent(letter, COLLEAGUE, "failed", CLOCK), "resent"),
    ):
        await log.append([act])
        assert (await read_letters(log)).state(letter) == state

"""The notary signs what came, goes on from where it was, and hides nothing that happened on the log."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from schemas.ports import Outgoing
from streams import topics
from tests.unit.notarised import CHECKPOINTS, RESULTS, Notarised, on_topic, result


@pytest.fixture
def notarised(tmp_path: Path) -> Notarised:
    return Notarised(tmp_path)


async def test_topic_and_file_hold_the_same(notarised: Notarised) -> None:
    await notarised.filled(random.Random(1), looks=2)
    assert notarised.lines() == on_topic(notarised) and len(notarised.lines()) > 10
    told = [json.loads(line) for line in notarised.lines()]
    assert [one["number"] for one in told] == list(range(1, len(told) + 1))
    (first,) = [one for one in notarised.log.records(CHECKPOINTS) if one.place.offset == 0]
    assert first.key == f"{told[0]['topic']}/{told[0]['partition']}".encode()
    assert first.header("ce_type") == "org.radstream.checkpoint.signed.v1"


async def test_nothing_is_signed_where_nothing_is_new(notarised: Notarised) -> None:
    await notarised.sign()
    assert not on_topic(notarised)
    await result(notarised)
    await notarised.sign()
    await notarised.sign()
    assert len(on_topic(notarised)) == 1


async def test_much_at_once_is_signed_in_pieces(notarised: Notarised) -> None:
    for _ in range(20):
        place = await result(notarised)
    assert [await notarised.notary.look() for _ in range(3)] == [True, True, False]
    ends = [json.loads(line)["end"] for line in notarised.lines()]
    assert ends == [7, 14, 20] and place.offset == 19


async def test_another_process_goes_on(notarised: Notarised) -> None:
    chance = random.Random(2)
    for _ in range(4):
        await notarised.filled(chance, looks=1)
        notarised.restart()
    told = await notarised.verify()
    assert told.well and not told.notes
    assert {one.first for one in told.proven} == {0}


async def test_retention_takes_the_beginning(notarised: Notarised) -> None:
    for _ in range(3):
        for _ in range(5):
            place = await result(notarised)
        await notarised.sign()
    notarised.history.remove_before(RESULTS, place.partition, 12)
    notarised.restart()
    await result(notarised)
    await notarised.sign()
    assert not notarised.notary.alarms
    told = await notarised.verify()
    (proven,) = told.proven
    assert told.well
    assert (proven.first, proven.end, proven.removed, proven.unproven) == (15, 16, 12, 3)


async def test_records_that_were_gone_before_they_were_signed(notarised: Notarised) -> None:
    for _ in range(5):
        place = await result(notarised)
    await notarised.sign()
    for _ in range(5):
        await result(notarised)
    notarised.history.remove_before(RESULTS, place.partition, 8)
    await notarised.sign()
    (note,) = notarised.notary.notes.values()
    assert f"{RESULTS}/{place.partition}: 5-7 were gone" in note
    told = await notarised.verify()
    (fault,) = told.faults
    assert (fault.kind, fault.first, fault.end, fault.between) == ("vanished", 5, 8, (1, 2))
    assert (told.proven[-1].first, told.proven[-1].end) == (8, 10)


async def test_a_log_that_ends_before_what_was_signed(notarised: Notarised) -> None:
    for _ in range(9):
        place = await result(notarised)
    await notarised.sign()
    del notarised.log.topics[RESULTS][place.partition][6:]
    notarised.restart()
    await notarised.sign()
    (note,) = notarised.notary.notes.values()
    assert f"{RESULTS}/{place.partition}: the log ends at 6" in note
    for _ in range(9):
        await result(notarised, b"other findings")
    await notarised.sign()
    notarised.restart()
    await notarised.sign()
    told = await notarised.verify()
    assert {(one.kind, one.first, one.end) for one in told.faults} == {
        ("shortened", 6, 9),
        ("changed", 0, 7),
        ("changed", 7, 9),
    } or {(one.kind, one.first, one.end) for one in told.faults} == {("shortened", 6, 9), ("changed", 0, 9)}
    assert (told.proven[-1].first, told.proven[-1].end) == (6, 15)


async def test_what_others_write_to_the_topic_is_told_and_stops_nothing(notarised: Notarised) -> None:
    await notarised.filled(random.Random(12), looks=1)
    await notarised.log.append([Outgoing(CHECKPOINTS, b"x", b"made up")])
    await result(notarised)
    await notarised.sign()
    await result(notarised)
    await notarised.sign()
    (note,) = notarised.notary.notes.values()
    assert "did not sign" in note
    (fault,) = (await notarised.verify()).faults
    assert "is no checkpoint" in fault.line()


async def test_a_topic_that_is_missing_keeps_none_of_the_others_from_being_signed(notarised: Notarised) -> None:
    raw, partitions = topics.HL7_RAW.name, notarised.log.topics.pop(topics.HL7_RAW.name)
    await result(notarised)
    await notarised.sign()
    assert [json.loads(line)["topic"] for line in notarised.lines()] == [RESULTS]
    assert notarised.notary.alarms == {raw: f"{raw} is missing on the broker: nothing of it is signed"}
    notarised.log.topics[raw] = partitions
    await notarised.sign()
    assert not notarised.notary.alarms

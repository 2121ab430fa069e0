"""Any edit of any record before the last checkpoint is found, whatever the log and whatever the edit."""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.ports import Record
from tests.unit.notarised import CHECKPOINTS, Notarised


@st.composite
def logs(draw: st.DrawFn) -> tuple[int, int, list[int]]:
    """Seed, offsets of a block, and how much was written before each look."""
    return draw(st.integers(0, 2**32)), draw(st.integers(1, 9)), draw(st.lists(st.integers(0, 25), min_size=1, max_size=4))


async def notarised_log(folder: Path, log: tuple[int, int, list[int]]) -> Notarised:
    seed, block, lots = log
    notarised, chance = Notarised(folder, block=block), random.Random(seed)
    for count in lots:
        await notarised.write(chance, count)
        await notarised.sign()
    return notarised


def edited(data: st.DataObject, record: Record) -> Record:
    """As Kafka could hold it: times in milliseconds, and no two shapes of the same."""
    changes = {
        "key": st.none() | st.binary(max_size=4),
        "value": st.binary(max_size=6),
        "headers": st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=3)), max_size=3).map(tuple),
        "timestamp": st.integers(-(10**9), 10**9).map(lambda later: record.timestamp + timedelta(milliseconds=later)),
    }
    which = data.draw(st.sampled_from(sorted(changes)))
    change = data.draw(changes[which].filter(lambda value: value != getattr(record, which)))
    return replace(record, **{which: change})


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(log=logs(), data=st.data())
def test_any_edit_is_found(log: tuple[int, int, list[int]], data: st.DataObject) -> None:
    async def walk() -> None:
        with tempfile.TemporaryDirectory() as folder:
            notarised = await notarised_log(Path(folder), log)
            if not notarised.lines():
                return
            assert (await notarised.verify()).well
            tampered = await notarised.tampered()
            filled = sorted(one for one, records in tampered.records_of.items() if records and one[0] != CHECKPOINTS)
            place = data.draw(st.sampled_from(filled))
            records = tampered.records_of[place]
            at = data.draw(st.integers(0, len(records) - 1))
            if data.draw(st.booleans()):
                offset = records.pop(at).place.offset
            else:
                offset = records[at].place.offset
                records[at] = edited(data, records[at])
            told = await notarised.verify(tampered)
            (fault,) = told.faults
            assert fault.place == f"{place[0]}/{place[1]}"
            assert fault.first is not None and fault.end is not None and fault.first <= offset < fault.end

    asyncio.run(walk())


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(log=logs(), chance=st.integers(0, 2**32))
def test_retention_anywhere_is_no_fault(log: tuple[int, int, list[int]], chance: int) -> None:
    async def walk() -> None:
        with tempfile.TemporaryDirectory() as folder:
            notarised, pick = await notarised_log(Path(folder), log), random.Random(chance)
            if not notarised.lines():
                return
            for topic in notarised.log.topics:
                for span in await notarised.history.spans(topic):
                    if topic != CHECKPOINTS:
                        notarised.history.remove_before(topic, span.partition, pick.randrange(span.end + 1))
            assert (await notarised.verify()).well
            notarised.restart()
            await notarised.write(pick, 20)
            await notarised.sign()
            told = await notarised.verify()
            assert told.well and not notarised.notary.alarms and not notarised.notary.notes
            spans = {
                (topic, span.partition): span for topic in notarised.log.topics for span in await notarised.history.spans(topic)
            }
            for one in told.proven:
                span = spans[one.topic, one.partition]
                assert one.removed == span.first and one.first - span.first == one.unproven < notarised.block + 1
                assert one.end == span.end

    asyncio.run(walk())

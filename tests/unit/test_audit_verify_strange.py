"""What happens rarely: retention while it is read, an archive that was changed, marks of transactions, and who has the key."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.checkpoints import CheckpointSigned
from schemas.errors import InvalidResource, RecordsRemoved
from schemas.history import Span
from schemas.ports import Outgoing, Record
from streams import topics
from streams.audit.checkpoint_file import CheckpointFile, CheckpointFileChanged
from streams.audit.notary import Notary
from streams.audit.signing import value_of
from streams.audit.standing import CheckpointsDisagree
from tests.contract.fake_history import FakeHistory
from tests.unit.notarised import CHECKPOINTS, Notarised

RESULTS = topics.RESULTS.name


@pytest.fixture
async def notarised(tmp_path: Path) -> Notarised:
    """Twenty results of one study, in blocks of seven."""
    found = Notarised(tmp_path)
    for _ in range(20):
        await found.log.append([Outgoing(RESULTS, b"1.2.3", b"findings")])
    await found.sign()
    return found


def partition(notarised: Notarised) -> int:
    return next(number for number, records in enumerate(notarised.log.topics[RESULTS]) if records)


class Shrinking(FakeHistory):
    """Retention comes while its results are read: after `given` of them, once."""

    given, to = 3, 9

    async def records(self, span: Span) -> AsyncIterator[Record]:
        count = 0
        async for record in super().records(span):
            if span.topic == RESULTS and self.to:
                count += 1
                if count > self.given:
                    self.remove_before(RESULTS, span.partition, self.to)
                    self.to = 0
                    raise RecordsRemoved("history", str(span), "retention removed records while they were read")
            yield record


async def test_retention_while_it_is_verified(notarised: Notarised) -> None:
    told = await notarised.verify(Shrinking(notarised.log))
    assert told.well
    (proven,) = told.proven
    assert (proven.first, proven.end, proven.removed, proven.unproven) == (14, 20, 9, 5)


async def test_retention_while_it_is_signed(notarised: Notarised, tmp_path: Path) -> None:
    for _ in range(5):
        await notarised.log.append([Outgoing(RESULTS, b"1.2.3", b"findings")])
    history = Shrinking(notarised.log)
    history.to = 22
    notary = Notary(notarised.log, history, notarised.signer, CheckpointFile(notarised.file), notarised.clock)
    assert not await notary.look(), "what is left is for the next look"
    await notary.look()
    (note,) = notary.notes.values()
    assert "20-21 were gone" in note


class Unreadable(FakeHistory):
    """An archive whose segment with offset 8 is not what it was."""

    async def records(self, span: Span) -> AsyncIterator[Record]:
        async for record in super().records(span):
            if record.place.topic == RESULTS and record.place.offset == 8:
                raise InvalidResource("archive", "a segment", "its checksum does not fit")
            yield record


async def test_an_archive_that_was_changed_hides_nothing_behind_it(notarised: Notarised) -> None:
    records = notarised.log.topics[RESULTS][partition(notarised)]
    records[15] = replace(records[15], value=b"made up")
    told = await notarised.verify(Unreadable(notarised.log))
    assert [(one.kind, one.first, one.end) for one in told.faults] == [("unreadable", 7, 14), ("changed", 14, 20)]
    assert "its checksum does not fit" in told.faults[0].line()


async def test_offsets_that_never_had_a_record_are_not_called_missing(tmp_path: Path) -> None:
    """A HIS that produces in transactions leaves marks, which have offsets and are no records."""
    notarised = Notarised(tmp_path)

    class Marked(FakeHistory):
        async def records(self, span: Span) -> AsyncIterator[Record]:
            async for record in super().records(span):
                if record.place.topic == CHECKPOINTS or record.place.offset not in (3, 5):
                    yield record

    notarised.history = Marked(notarised.log)
    notarised.restart()
    for _ in range(10):
        await notarised.log.append([Outgoing(RESULTS, b"1.2.3", b"findings")])
    await notarised.sign()
    assert (await notarised.verify()).well
    log = await notarised.tampered()
    records = log.records_of[RESULTS, partition(notarised)]
    del records[1]
    (fault,) = (await notarised.verify(log)).faults
    assert fault.what.startswith("1 records were removed, at some of") and fault.missing == ((1, 1), (3, 3), (5, 5))


async def _signed_again(notarised: Notarised, at: int, **more: object) -> bytes:
    """By somebody who has the key."""
    old = CheckpointSigned.model_validate_json(notarised.lines()[at])
    return value_of(notarised.signer.signed(old.model_copy(update=more)))


async def test_who_has_the_key_and_changes_one_of_both_is_found(notarised: Notarised) -> None:
    value = await _signed_again(notarised, 1, chain="a" * 64)
    notarised.file.write_bytes(b"".join(line + b"\n" for line in [notarised.lines()[0], value, *notarised.lines()[2:]]))
    faults = [fault.line() for fault in (await notarised.verify()).faults]
    assert faults == [f"{notarised.file}:2: checkpoint 2 is another one than {CHECKPOINTS}/0/1, and both are signed"]


async def test_who_has_the_key_and_changes_one_checkpoint_of_both_breaks_the_series(notarised: Notarised) -> None:
    value = await _signed_again(notarised, 1, records=8)
    notarised.file.write_bytes(b"".join(line + b"\n" for line in [notarised.lines()[0], value, *notarised.lines()[2:]]))
    records = notarised.log.topics[CHECKPOINTS][0]
    records[1] = replace(records[1], value=value)
    faults = [fault.line() for fault in (await notarised.verify()).faults]
    assert faults == [f"{CHECKPOINTS}/0/2: checkpoint 3 does not follow 2"]


async def test_a_checkpoint_under_the_key_of_another_partition(notarised: Notarised) -> None:
    records = notarised.log.topics[CHECKPOINTS][0]
    records[1] = replace(records[1], key=b"hl7.v2.raw/0")
    faults = [fault.line() for fault in (await notarised.verify()).faults]
    assert f"{CHECKPOINTS}/0/1: has the key of another partition" in faults


async def test_what_was_put_in_is_counted(notarised: Notarised) -> None:
    log = await notarised.tampered()
    records = log.records_of[RESULTS, partition(notarised)]
    records.insert(5, replace(records[5], value=b"made up"))
    (fault,) = (await notarised.verify(log)).faults
    assert (fault.first, fault.end, fault.what) == (0, 7, "1 records were put in")


async def test_it_goes_on_when_what_was_put_into_the_file_is_taken_out(notarised: Notarised) -> None:
    whole = notarised.file.read_bytes()
    notarised.file.write_bytes(whole + b"what is this?\n")
    await notarised.write(random.Random(1), 5)
    with pytest.raises(CheckpointFileChanged):
        await notarised.notary.look()
    notarised.restart()
    with pytest.raises(CheckpointsDisagree):
        await notarised.notary.look()
    notarised.file.write_bytes(whole)
    notarised.restart()
    await notarised.sign()
    assert (await notarised.verify()).well


async def test_a_file_that_was_shortened_under_its_hands(notarised: Notarised) -> None:
    notarised.file.write_bytes(notarised.file.read_bytes()[:-5])
    await notarised.write(random.Random(1), 5)
    with pytest.raises(CheckpointFileChanged):
        await notarised.notary.look()


async def test_a_topic_that_was_made_anew(notarised: Notarised) -> None:
    """The new chain begins where the old one did: it is another one all the same."""
    notarised.log.create(RESULTS)
    await notarised.sign()
    await notarised.log.append([Outgoing(RESULTS, b"1.2.3", b"other findings")])
    await notarised.sign()
    told = await notarised.verify()
    assert [(one.kind, one.first, one.end) for one in told.faults] == [("shortened", 0, 20), ("removed", 0, 20)]
    assert (told.proven[-1].first, told.proven[-1].end) == (0, 1)

"""A start reads only the end of topic and file, and knows where every partition stands all the same."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from schemas.errors import BrokerUnavailable, TopicMissing
from schemas.history import Span
from schemas.ports import Outgoing, Record
from streams import topics
from streams.audit import standing
from streams.audit.checkpoint_file import CheckpointFile
from streams.audit.notary import Notary
from streams.audit.standing import CheckpointsDisagree, begin
from tests.contract.fake_history import FakeHistory
from tests.unit.notarised import CHECKPOINTS, Notarised

RESULTS = topics.RESULTS.name


class Counting(FakeHistory):
    """How many records of the checkpoints were read; `fails_on`: there the broker is away; `missing`: no such topic."""

    def __init__(self, of: Notarised) -> None:
        super().__init__(of.log)
        self.read, self.fails_on, self.missing = 0, "", ""

    async def spans(self, topic: str) -> Sequence[Span]:
        if topic == self.missing:
            raise TopicMissing("history", topic, "there is no such topic")
        if topic == self.fails_on:
            self._log.away = True
            raise BrokerUnavailable("history", topic, "the broker is away")
        return await super().spans(topic)

    async def records(self, span: Span) -> AsyncIterator[Record]:
        async for record in super().records(span):
            self.read += record.place.topic == CHECKPOINTS
            yield record


@pytest.fixture
def notarised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notarised:
    monkeypatch.setattr(standing, "AGAIN_AFTER", 10)
    monkeypatch.setattr(standing, "_LINE", 700)
    return Notarised(tmp_path)


async def much(notarised: Notarised) -> None:
    """Nothing but results of one study, after one message."""
    await notarised.log.append([Outgoing(topics.HL7_RAW.name, b"RIS|A", b"MSH|")])
    for _ in range(60):
        await notarised.log.append([Outgoing(RESULTS, b"1.2.3", b"findings")])
        await notarised.sign()


async def test_only_the_end_is_read(notarised: Notarised) -> None:
    await much(notarised)
    history = Counting(notarised)
    everything = await begin(history, CheckpointFile(notarised.file), notarised.signer)
    assert history.read == len(notarised.lines()) > 60
    history.read = 0
    file = CheckpointFile(notarised.file)
    end = await begin(history, file, notarised.signer, tail=30)
    assert history.read == 30
    assert end.standing.chains == everything.standing.chains and len(end.standing.chains) == 2
    assert (end.standing.number, end.standing.digest) == (everything.standing.number, everything.standing.digest)
    assert end.next_offset == everything.next_offset
    file.append([b"the next"])
    assert notarised.lines()[-1] == b"the next" and len(notarised.lines()) == everything.standing.number + 1


async def test_a_quiet_partition_is_signed_for_again(notarised: Notarised) -> None:
    await much(notarised)
    told = [json.loads(line) for line in notarised.lines()]
    quiet = [one for one in told if one["topic"] == topics.HL7_RAW.name]
    assert len(quiet) > 4 and len({(one["end"], one["chain"]) for one in quiet}) == 1
    assert (await notarised.verify()).well


async def test_too_little_to_know_everything_is_no_reason_to_guess(notarised: Notarised) -> None:
    await much(notarised)
    history = Counting(notarised)
    await begin(history, CheckpointFile(notarised.file), notarised.signer, tail=15)
    assert history.read == len(notarised.lines()) + 15


async def test_what_was_changed_before_the_end_is_for_verify_and_at_the_end_stops_it(notarised: Notarised) -> None:
    await much(notarised)
    whole = notarised.file.read_bytes()
    lines = notarised.lines()
    for at, found in ((3, False), (len(lines) - 4, True)):
        changed = [*lines[:at], lines[at].replace(b'"partition":', b'"partition": '), *lines[at + 1 :]]
        notarised.file.write_bytes(b"".join(line + b"\n" for line in changed))
        assert not (await notarised.verify()).well
        if found:
            with pytest.raises(CheckpointsDisagree, match=f":{at + 1}: is not what was signed"):
                await begin(notarised.history, CheckpointFile(notarised.file), notarised.signer, tail=30)
        else:
            await begin(notarised.history, CheckpointFile(notarised.file), notarised.signer, tail=30)
    notarised.file.write_bytes(whole[:-300])
    begun = await begin(notarised.history, CheckpointFile(notarised.file), notarised.signer, tail=30)
    assert begun.standing.number == len(lines) and notarised.file.read_bytes() == whole


async def test_away_in_the_midst_of_a_look(notarised: Notarised) -> None:
    """What was signed until then keeps its number."""
    history = Counting(notarised)
    notary = Notary(notarised.log, history, notarised.signer, CheckpointFile(notarised.file), notarised.clock, block=7)
    for _ in range(3):
        await notarised.write(random.Random(1), 60)
        history.fails_on = topics.AUDIT.name
        with pytest.raises(BrokerUnavailable):
            await notary.look()
        history.fails_on, notarised.log.away = "", False
        while await notary.look():
            pass
    told = await notarised.verify()
    assert told.well and not told.later


async def test_a_topic_that_is_gone(notarised: Notarised) -> None:
    await notarised.filled(random.Random(2), looks=2)
    history = Counting(notarised)
    history.missing = RESULTS
    told = await notarised.verify(history)
    assert {(fault.kind, fault.place.partition("/")[0]) for fault in told.faults} == {("removed", RESULTS)}
    history.missing = CHECKPOINTS
    told = await notarised.verify(history)
    assert [fault.line() for fault in told.faults] == [f"{CHECKPOINTS}: lacks checkpoints 1-{len(notarised.lines())}"]


async def test_the_notary_may_write_while_it_is_verified(notarised: Notarised) -> None:
    await notarised.filled(random.Random(3), looks=2)

    class Busy(FakeHistory):
        """Whenever checkpoints are read there are more at once."""

        async def records(self, span: Span) -> AsyncIterator[Record]:
            async for record in super().records(span):
                yield record
            if span.topic == CHECKPOINTS:
                await notarised.filled(random.Random(4), looks=2)

    told = await notarised.verify(Busy(notarised.log))
    assert told.well and not told.notes


async def test_a_lost_file_is_not_made_anew_from_the_end(notarised: Notarised) -> None:
    await much(notarised)
    notarised.file.unlink()
    with pytest.raises(CheckpointsDisagree, match="lacks checkpoints 1-"):
        await begin(notarised.history, CheckpointFile(notarised.file), notarised.signer, tail=30)
    assert not notarised.file.exists()

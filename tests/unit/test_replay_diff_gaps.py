"""Answers of then that nobody has any more: what stands beside them is compared as ever, and nothing is made of their absence."""

from __future__ import annotations

import pytest

from schemas.findings import Findings
from schemas.history import Span
from streams.replay.changes import Tolerance
from streams.replay.differing import differences
from streams.replay.diffing import Compared, compared, to_be_read
from streams.replay.publishing import publications
from streams.replay.said import Side
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.gapped import gapped
from tests.unit.replays import HERE, NAME, kinds, outgoing, record, said, side, uid
from tests.unit.test_replay_diff_reading import MESSAGES, SANDBOX, manifest

RESULTS = "ai.results"


@pytest.fixture
def log() -> FakeEventLog:
    log = FakeEventLog(SANDBOX, "radstream.audit")
    log.create(RESULTS, partitions=1)
    return log


async def told(log: FakeEventLog, *live: Findings, gap: Span, now: tuple[Findings, ...]) -> Compared:
    await log.append([outgoing(one, RESULTS) for one in live])
    await log.append([outgoing(one, SANDBOX) for one in now])
    history, of = await gapped(log, gap), manifest(1, 2, 3, span=MESSAGES)
    spans = await to_be_read(history, {NAME: [SANDBOX], "live": [RESULTS]}, of)
    return await compared(history, of, None, NAME, None, spans, Tolerance())


async def test_what_may_have_been_said_in_it_is_not_only_now(log: FakeEventLog) -> None:
    gap = Span(RESULTS, 0, 1, 2)
    diff = (await told(log, said(1), said(2), said(3), gap=gap, now=(said(1), said(2), said(3, [HERE])))).diff
    found = {one.study_instance_uid: (kinds(one), one.not_comparable) for one in diff.studies}
    assert found[uid(1)] == ([], "what was said then last may be of ai.results/0/1-2, which is gone"), "a later word of it"
    assert found[uid(2)] == ([], "what was said then may be of ai.results/0/1-2, which is gone")
    assert "appeared" in found[uid(3)][0]
    assert (diff.gone, len(diff.failed)) == ((str(gap),), 0)
    assert diff.notes == ("ai.results/0/1-2 is gone, with what was said there (then): neither log nor archive has it.",)


async def test_a_gate_does_not_pass_it_unless_it_is_allowed_to(log: FakeEventLog) -> None:
    diff = (await told(log, said(1), said(2), said(3), gap=Span(RESULTS, 0, 1, 2), now=(said(1), said(2), said(3)))).diff
    assert (diff.is_clean(allow_not_comparable=False), diff.is_clean(allow_not_comparable=True)) == (False, True)


async def test_over_a_word_that_nobody_has_any_more_nothing_is_published(log: FakeEventLog) -> None:
    """Its number may be above that of what would be published: receivers would hear nothing of it."""
    live = (said(1), said(2, sequence=16), said(2, sequence=32), said(3))
    found = await told(log, *live, gap=Span(RESULTS, 0, 2, 3), now=(said(1, [HERE]), said(2, [HERE]), said(3, [HERE])))
    one, two, three = publications(NAME, found, frozenset(map(uid, (1, 2, 3))), {}, Tolerance())
    for refused in (one, two):
        assert refused.refused == "not comparable: what was said then last may be of ai.results/0/2-3, which is gone"
    assert (three.refused, three.said is not None) == ("", True), "what stands behind it is the last word"


@pytest.mark.parametrize("word", [0, 1], ids=["a finding in the gap", "a finding before it"])
async def test_a_word_before_the_gap_is_not_held_against_the_last_one_of_the_other_side(log: FakeEventLog, word: int) -> None:
    """Whoever takes it for the last one passes a finding that was lost, or tells of one that never vanished."""
    first, last = ([HERE], []) if word else ([], [HERE])
    live = (said(1), said(2, first, sequence=16), said(2, last, sequence=32), said(3))
    diff = (await told(log, *live, gap=Span(RESULTS, 0, 2, 3), now=(said(1), said(2, sequence=32), said(3)))).diff
    why = "what was said then last may be of ai.results/0/2-3, which is gone"
    assert [(one.not_comparable, one.compared, kinds(one)) for one in diff.studies] == [
        (why, False, []),
        (why, False, []),
        ("", True, []),
    ]
    assert {one.study_instance_uid for one in diff.not_comparable} == {uid(1), uid(2)}
    assert not diff.is_clean(allow_not_comparable=False)


def test_nor_where_the_replay_lacks_what_it_said_last() -> None:
    now = side(said(1), topic=SANDBOX)
    now.gone.append(Span(SANDBOX, 0, 2, 3))
    (one,) = differences(side(said(1, [HERE])), now, Tolerance())
    assert one.not_comparable == f"what was said now last may be of {SANDBOX}/0/2-3, which is gone"


def test_it_is_asked_behind_what_is_compared_and_not_behind_what_stands() -> None:
    """Of what was replayed an answer may be gone, though one stands behind the gap that was said since."""
    then = Side(counts=lambda subject, record: subject.sequence < 48)
    then.result(record(said(1), offset=0))
    then.result(record(said(1, sequence=48), offset=9))
    then.gone.append(Span(RESULTS, 0, 4, 5))
    (one,) = differences(then, side(said(1)), Tolerance())
    assert one.not_comparable == "what was said then last may be of ai.results/0/4-5, which is gone"

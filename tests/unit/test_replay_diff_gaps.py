"""Answers of then that nobody has any more: what stands beside them is compared as ever, and nothing is made of their absence."""

from __future__ import annotations

import pytest

from schemas.findings import Findings
from schemas.history import Span
from streams.replay.changes import Tolerance
from streams.replay.diffing import Compared, compared, to_be_read
from streams.replay.publishing import publications
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.gapped import gapped
from tests.unit.replays import HERE, NAME, kinds, outgoing, said, uid
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
    assert found[uid(1)] == ([], "")
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
    one, two, three = publications(NAME, found, None, {}, Tolerance())
    for refused in (one, two):
        assert refused.refused.startswith("what receivers were told last may be of ai.results/0/2-3, which is gone")
    assert (three.refused, three.said is not None) == ("", True), "what stands behind it is the last word"

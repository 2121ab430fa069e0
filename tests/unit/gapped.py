"""A log and its archive, which lacks something that retention took before it was archived."""

from __future__ import annotations

from connectors.objects import in_memory
from schemas.history import Span
from streams.segments.history import ArchivedHistory
from tests.contract.archived_log import archive
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory


async def gapped(log: FakeEventLog, *gaps: Span) -> ArchivedHistory:
    """All topics as they are on the log, but of the partitions of these all is archived, and the gaps are not. Each in the midst of
    its partition, and one of each."""
    live, objects = FakeHistory(log), in_memory()
    for gap in gaps:
        records = log.topics[gap.topic][gap.partition]
        assert 0 < gap.first < gap.end < len(records)
        await archive(objects, records[: gap.first])
        await archive(objects, records[gap.end :])
        live.remove_before(gap.topic, gap.partition, len(records))
    return ArchivedHistory(objects, live, {gap.topic for gap in gaps})

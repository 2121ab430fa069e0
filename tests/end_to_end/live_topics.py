"""What a replay must not touch: the live topics, while the engine of all tests goes on beside it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace

from schemas.history import Span
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Record
from streams import topics
from streams.wiring.clients import history_for
from tests.end_to_end.conftest import Hospital

#: sources of studies may tell at any time what they have told before; what a person does is told, and signed
_AT_ANY_TIME = (topics.NOTICES, topics.STUDIES, topics.AUDIT, topics.CHECKPOINTS)
_UID = re.compile(r"[0-9.]+")


@asynccontextmanager
async def nothing_is_said(hospital: Hospital, studies: Collection[StudyInstanceUID]) -> AsyncIterator[None]:
    """Inside the block, of these studies or of none. Of others the engine may speak at any time: one whose analysis became a dead
    letter in a test before is late ten minutes after, whatever runs then."""
    history = history_for(hospital.engine.settings)

    async def spans() -> list[Span]:
        return [span for topic in topics.ALL if topic not in _AT_ANY_TIME for span in await history.spans(topic.name)]

    def of_another(record: Record) -> bool:
        named = (record.key or b"").decode("utf-8", "replace").rpartition("|")[2]  # of a delivery behind the receiver
        return _UID.fullmatch(named) is not None and named not in studies

    before = await spans()
    yield
    new = [replace(now, first=then.end) for then, now in zip(before, await spans(), strict=True)]
    said = [record for span in new async for record in history.records(span)]
    assert not [str(record.place) for record in said if not of_another(record)]

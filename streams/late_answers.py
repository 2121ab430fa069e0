"""Application answers come back to the connections that wait for them: from `hl7.v2.acknowledgements` to the open conversations
of this process. One whose connection is gone is dropped: its sender, still without an answer, sends the message again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress

import structlog

from connectors.mllp.conversations import Conversations
from schemas.errors import Unavailable
from schemas.ports import EventLog, Record
from streams.answering import ANSWER_TO
from streams.topics import HL7_ACKNOWLEDGEMENTS

log = structlog.get_logger()

#: records of each partition that are looked at again after a start or a break: none in between is missed
_LOOK_BACK = 1000
_RETRY_S = 1.0
_REMEMBERED = 10_000


class LateAnswers:
    """`process`: a name that no other process has or had. Follows the topic from the first message on that wants such an
    answer, so that sites without enhanced mode have no consumer."""

    def __init__(self, event_log: EventLog, process: str) -> None:
        self.conversations = Conversations(process)
        self._log = event_log
        self._following: asyncio.Task[None] | None = None
        self._seen: OrderedDict[str, None] = OrderedDict()

    def awaited(self) -> None:
        """A message was received whose sender waits."""
        if self._following is None:
            self._following = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following

    async def _follow(self) -> None:
        while True:
            try:
                async for record in self._log.read(HL7_ACKNOWLEDGEMENTS.name, follow=True, last=_LOOK_BACK):
                    self._tell(record)
            except Unavailable as error:
                log.warning("application answers wait", error=str(error))
            except Exception as error:  # noqa: BLE001 - a bug in one answer must not keep the others from theirs
                log.error("telling an application answer failed", error=type(error).__name__)  # noqa: TRY400
            await asyncio.sleep(_RETRY_S)

    def _tell(self, record: Record) -> None:
        to, answer_id = record.header(ANSWER_TO) or "", record.header("ce_id") or str(record.place)
        if not self.conversations.ours(to) or answer_id in self._seen:
            return
        self._seen[answer_id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        if not self.conversations.tell(to, record.value):
            log.info("an application answer finds no connection", place=str(record.place))

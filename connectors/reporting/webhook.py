"""A web server that is told each state of a study: Findings as JSON, POSTed and signed. The port ReportingSystem.

A repetition has the same `webhook-id`, so that the receiver can drop it: after an answer that was lost, and when somebody who
listened sends it once more. Nothing here logs a body or an answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import structlog

from connectors.archive_access import ArchiveAccess
from connectors.archive_connection import Answer, ArchiveConnection, Question
from connectors.deadline import Deadline
from connectors.reporting.webhook_signature import SigningSecrets
from connectors.spells import Spell
from schemas.errors import (
    AccessRefused,
    ArchiveUnavailable,
    InvalidResource,
    ItemNotServed,
    ReceiverUnavailable,
    ResourceRefused,
    SettingsInvalid,
)
from schemas.events import FINDINGS_TYPE
from schemas.findings import Findings
from schemas.identifiers import identity
from schemas.ports import Acknowledgement, Clock

_STEP = "webhook"
_ANSWER_LIMIT = 1 << 16
#: of the time of a message is for its answer; what is left of it for the question whether the receiver is well
_SHARE = 0.7
#: not the word on one message: come again later
_LATER = frozenset({408, 425, 429, 503})
#: of one message, or of every one, as what refuses us (Answer.refuses) and a 5xx
_OF_ONE_OR_ALL = frozenset({404, 405, 406, 415})
#: A receiver that has taken nothing yet since we started, and answers OPTIONS: whether it fails on one message or on all nobody
#: can tell. So often the message is tried before the next one is.
_TRIES_OF_THE_FIRST = 5
_log = structlog.get_logger()

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Message:
    """`body`: JSON. `reference` is for errors."""

    id: UUID
    type: str
    reference: str
    body: bytes


class WebhookReceiver:
    """`url` is https (or on loopback); `secret_file` as of SigningSecrets; `timeout_s` limits each call as a whole, the question
    whether the receiver is well included. Redirects are not followed and proxies not used."""

    def __init__(
        self,
        url: str,
        *,
        secret_file: Path,
        timeout_s: float,
        clock: Clock,
        access: ArchiveAccess = ArchiveAccess(),
        pool_size: int = 2,
    ) -> None:
        """Raises SettingsInvalid when a file cannot be used."""
        parts = urlsplit(url)
        self._secrets = SigningSecrets(secret_file)
        try:
            self._connection = ArchiveConnection(f"{parts.scheme}://{parts.netloc}", _ANSWER_LIMIT, access)
        except SettingsInvalid as error:
            raise SettingsInvalid(_STEP, error.reference, error.reason) from None
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout_s = timeout_s
        self._clock = clock
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix="webhook")
        self._lock = threading.Lock()
        #: The last one that was taken. Sent again it does no harm, and what is answered then tells whether the receiver is well.
        self._taken: _Message | None = None
        #: tries of messages that failed while none was ever taken
        self._tries: dict[UUID, int] = {}
        self._refuses_all = Spell()

    async def tell(self, findings: Findings, held: Findings | None) -> Acknowledgement:
        """See ReportingSystem.tell. The state is told whole, so that it needs no word about what is held."""
        study = findings.subject.study_instance_uid
        id = identity("webhook", study, findings.service, str(findings.subject.sequence), str(findings.analysis_id))
        return await self._tell(_Message(id, FINDINGS_TYPE, f"study {study}", findings.model_dump_json().encode("utf-8")))

    async def tell_event(self, body: bytes, id: UUID, type: str) -> Acknowledgement:
        """Any JSON, under the CloudEvents `type`. The same id: the same message. Raises as `tell`."""
        return await self._tell(_Message(id, type, f"event {id}", body))

    async def probe(self) -> None:
        """OPTIONS (RFC 9110 9.3.7) changes nothing. See ReportingSystem.probe."""

        def ask() -> None:
            with Deadline(self._timeout_s) as deadline:
                try:
                    trouble = self._trouble_with_options(deadline, "probe")
                except ArchiveUnavailable as error:
                    raise ReceiverUnavailable(_STEP, "probe", error.reason) from None
            if trouble is not None:
                raise ReceiverUnavailable(_STEP, "probe", trouble)

        await self._run(ask)

    async def close(self) -> None:
        """Waits for no thread: each ends within `timeout_s`."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _tell(self, message: _Message) -> Acknowledgement:
        return await self._run(lambda: self._exchange(message))

    # ------------------------------------------------------------------------------------------- below: in the threads

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _exchange(self, message: _Message) -> Acknowledgement:
        end = time.monotonic() + self._timeout_s
        answer: Answer | None = None
        with Deadline(self._timeout_s * _SHARE) as deadline:
            try:
                answer = self._post(deadline, message)
            except ArchiveUnavailable as error:
                trouble = error.reason
                if not deadline.reached:
                    raise ReceiverUnavailable(_STEP, message.reference, trouble) from None
        if answer is not None:
            if 200 <= answer.status < 300:
                self._note_taken(message)
                return Acknowledgement(f"webhook-id {message.id}")
            trouble = f"HTTP {answer.status}"
            if answer.status in _LATER:
                raise ReceiverUnavailable(_STEP, message.reference, trouble)
            if not _of_one_or_all(answer):
                # 410 too: it wants no more of them, which only a person can decide on
                raise ResourceRefused(_STEP, message.reference, f"{trouble}: see its answer", answer.content)
        with Deadline(max(end - time.monotonic(), 0.0)) as deadline:
            self._check_receiver(deadline, message, trouble, answer)
        if answer is not None and answer.refuses:
            raise AccessRefused(_STEP, message.reference, f"{trouble}, though the receiver takes other messages")
        raise ItemNotServed(_STEP, message.reference, f"{trouble}, though the receiver is well")

    def _check_receiver(self, deadline: Deadline, message: _Message, trouble: str, answer: Answer | None) -> None:
        """Raises ReceiverUnavailable when the trouble is not that of the message alone."""
        try:
            fault = self._fault(deadline, message, answer)
        except ArchiveUnavailable:
            fault = "the receiver is not well"
        if fault is not None:
            raise ReceiverUnavailable(_STEP, message.reference, f"{trouble}, and {fault}")

    def _fault(self, deadline: Deadline, message: _Message, answer: Answer | None) -> str | None:
        """What is wrong with the receiver itself; None when it is well."""
        with self._lock:
            taken = self._taken
        if taken is not None and taken.id != message.id:
            other = self._post(deadline, taken)
            if other.refuses:
                return self._note_refusal(other.status)
            return "it fails on others too" if other.status in _LATER or _of_one_or_all(other) else None
        if taken is not None:
            return "it had taken this one before"
        if answer is not None and answer.refuses and answer.status != 403:
            return self._note_refusal(answer.status)  # never because of what a message says
        fault = self._trouble_with_options(deadline, message.reference)
        if fault is not None:
            return fault
        with self._lock:
            tries = self._tries.get(message.id, 0) + 1
            self._tries = {message.id: tries} if len(self._tries) > 1000 else self._tries | {message.id: tries}
        return None if tries >= _TRIES_OF_THE_FIRST else "nothing was taken since the start"

    def _trouble_with_options(self, deadline: Deadline, reference: str) -> str | None:
        """None: there is a web server that lets us in. Whether it knows OPTIONS at this address (404, 405, 501) says nothing."""
        answer = self._ask(deadline, "OPTIONS", reference, {}, None)
        if answer.refuses:
            return self._note_refusal(answer.status)
        if answer.status >= 500 and answer.status != 501:
            return f"the receiver is not well (OPTIONS: HTTP {answer.status})"
        return None

    def _post(self, deadline: Deadline, message: _Message) -> Answer:
        # CloudEvents, HTTP binding 1.0.2, binary mode: the words of the headers on the log
        headers = {
            "Content-Type": "application/json",
            "ce-specversion": "1.0",
            "ce-id": str(message.id),
            "ce-type": message.type,
            "ce-source": "radstream",
            **self._secrets.headers(str(message.id), self._clock.now(), message.body),
        }
        return self._ask(deadline, "POST", message.reference, headers, message.body)

    def _ask(self, deadline: Deadline, method: str, reference: str, headers: dict[str, str], body: bytes | None) -> Answer:
        question = Question(method, self._path, _STEP, reference, {"Accept": "*/*", **headers}, frozenset(), (), body)
        try:
            return self._connection.ask(deadline, question)
        except InvalidResource as error:
            raise ArchiveUnavailable(_STEP, reference, error.reason) from None

    def _note_taken(self, message: _Message) -> None:
        with self._lock:
            self._taken = message
            self._tries = {}
        if self._refuses_all.end():
            _log.info("the web server takes messages again")

    def _note_refusal(self, status: int) -> str:
        refusal = f"the receiver refuses everything (HTTP {status}): {_remedy(status)}"
        if self._refuses_all.begin():
            _log.error("nothing goes on until a person acts", error=refusal, alarm=True)
        return refusal


def _of_one_or_all(answer: Answer) -> bool:
    return answer.refuses or answer.status in _OF_ONE_OR_ALL or answer.status < 200 or answer.status >= 500


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "compare secret_file with the receiver's secret, and renew token, password or client (oauth2) if it asks for them"
    return "it leads elsewhere: check its address in the settings"

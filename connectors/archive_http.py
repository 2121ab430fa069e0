"""HTTP exchanges with one archive, each bounded in time, in size and in threads; and whether a failure is one item's or all's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from connectors.archive_access import ArchiveAccess
from connectors.archive_connection import Answer, ArchiveConnection, Question
from connectors.deadline import Deadline
from connectors.spells import Spell
from schemas.errors import AccessRefused, ArchiveUnavailable, InvalidResource, ItemNotServed, ResourceRefused, StudyIncomplete

#: of the time of an exchange is for the answer; what is left of it for the question whether the archive is well
_SHARE = 0.8
#: what an archive, or the proxy before it, says of one item that it cannot get, or of every one; beside what refuses us
_OF_ONE_OR_ALL = frozenset({404, 500, 502, 504})
#: media types of DICOM JSON (PS3.18 annex F) and of what archives send instead of it
JSON_TYPES = frozenset({"application/dicom+json", "application/json"})
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Probe:
    """A cheap question about nothing that may be broken; a well archive answers 200 and JSON of this type, or 204 (nothing
    found, as QIDO-RS may say it)."""

    path: str
    type: type[list[object]] | type[dict[str, object]]


class ArchiveHttp:
    """A bounded pool of threads, each with one connection to the archive.

    `timeout_s` bounds each wait for the peer and, in total, the whole exchange with its tries (a server that drips for ever
    is cut); `size_limit` bounds the answer in bytes. After no answer in time, a broken one, 401, 403, 404, 500, 502, 504, a
    redirect and an answer of another type (a proxy's log-in page) `probe` is asked: is the archive well, and only this item is
    not? One that refuses every question needs a person: that is an alarm once, until it answers again."""

    def __init__(
        self,
        base_url: str,
        *,
        probe: Probe,
        timeout_s: float,
        size_limit: int,
        pool_size: int,
        access: ArchiveAccess = ArchiveAccess(),
    ) -> None:
        """Raises SettingsInvalid when a file of `access` cannot be used."""
        self._connection = ArchiveConnection(base_url, size_limit, access)
        self._probe = probe
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix="archive")
        self._refuses_all = Spell()

    @property
    def refuses_everything(self) -> bool:
        """Whether it lately answered 401, 403 or a redirect even to `probe`, and nothing well since."""
        return self._refuses_all.lasts

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        step: str,
        reference: str,
        accept: str,
        media_types: frozenset[str] = JSON_TYPES,
        params: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        content_type: str | None = None,
        accepted_statuses: frozenset[int] = frozenset({200}),
    ) -> Answer:
        """One question. Raises ArchiveUnavailable (no connection, no TLS, 408, 429, 503; from an archive that is not well also
        too slow, 401, 403, a redirect, 404, other 5xx, not of `media_types`), and from one that is well: StudyIncomplete (404),
        AccessRefused (401, 403, a redirect), ItemNotServed (the others). StudyIncomplete (410), ResourceRefused (any other status
        that is not in `accepted_statuses`), InvalidResource (too large)."""
        headers = {"Accept": accept} | ({} if content_type is None else {"Content-Type": content_type})
        question = Question(method, path, step, reference, headers, media_types, params, body)

        def call() -> Answer:
            end = time.monotonic() + self._timeout_s
            answer = None
            with Deadline(self._timeout_s * _SHARE) as deadline:
                try:
                    answer = self._connection.ask(deadline, question)
                except ArchiveUnavailable as error:
                    if not deadline.reached:
                        raise
                    trouble = error.reason
            if answer is not None:
                accepted = answer.status in accepted_statuses
                if _fits(answer, accepted_statuses, media_types):
                    self._note_answer()
                    return answer
                if not (accepted or answer.status in _OF_ONE_OR_ALL or answer.refuses):
                    raise _refusal(answer, step, reference)
                trouble = "an answer of another type than asked for" if accepted else f"HTTP status {answer.status}"
            self._check_archive(max(end - time.monotonic(), 0.0), question, trouble)
            if answer is not None and answer.status == 404:
                raise StudyIncomplete(step, reference, trouble)
            if answer is not None and answer.refuses:
                # it may be let in since: a token renewed between the two questions must cost no study
                with Deadline(max(end - time.monotonic(), 0.0)) as deadline:
                    again = self._connection.ask(deadline, question)
                if _fits(again, accepted_statuses, media_types):
                    return again
                if again.refuses:
                    raise AccessRefused(step, reference, f"{trouble}, though the archive answers other questions")
            raise ItemNotServed(step, reference, f"{trouble}, though the archive is well")

        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def close(self) -> None:
        """Waits for no exchange in progress: each ends within `timeout_s` by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check_archive(self, seconds: float, about: Question, trouble: str) -> None:
        """Raises ArchiveUnavailable when the trouble is not that of the item alone."""
        with Deadline(seconds) as deadline:
            fault = self._fault(deadline, about)
        if fault is not None:
            raise ArchiveUnavailable(about.step, about.reference, f"{trouble}, and {fault}")

    def _fault(self, deadline: Deadline, about: Question) -> str | None:
        """What is wrong with the archive itself; None when it is well."""
        question = Question("GET", self._probe.path, about.step, about.reference, {"Accept": "*/*"}, JSON_TYPES)
        with contextlib.suppress(ArchiveUnavailable, InvalidResource, ValueError, RecursionError):
            answer = self._connection.ask(deadline, question)
            if answer.status == 204 or (
                answer.status == 200
                and answer.media_type in JSON_TYPES
                and isinstance(json.loads(answer.content), self._probe.type)
            ):
                self._note_answer()
                return None
            if answer.refuses:
                fault = f"the archive refuses every question (HTTP status {answer.status}): {_remedy(answer.status)}"
                if self._refuses_all.begin():
                    _log.error("nothing goes on until a person acts", door=self._probe.path, error=fault, alarm=True)
                return fault
        return "the archive is not well"

    def _note_answer(self) -> None:
        if self._refuses_all.end():
            _log.info("the archive answers again", door=self._probe.path)


def _fits(answer: Answer, statuses: frozenset[int], media_types: frozenset[str]) -> bool:
    return answer.status in statuses and (answer.status == 204 or answer.media_type in media_types)


def _remedy(status: int) -> str:
    if status == 401:
        return "renew token_file, or user and password_file, or the client of oauth2_token_url, of the archive"
    if status == 403:
        return "let this user or token read there, or give another one"
    return "it leads elsewhere, to a log-in perhaps: check its address in the settings, and token_file or user and password_file"


def _refusal(answer: Answer, step: str, reference: str) -> Exception:
    status = answer.status
    if status == 410:
        return StudyIncomplete(step, reference, f"HTTP status {status}")
    if status in (408, 429) or status >= 500:
        return ArchiveUnavailable(step, reference, f"HTTP status {status}")
    return ResourceRefused(step, reference, f"HTTP status {status}", answer.content)

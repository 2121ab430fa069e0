"""HTTP exchanges with one archive, each bounded in time, in size and in threads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import requests
from urllib3.exceptions import HTTPError

from connectors.archive_access import ArchiveAccess, Credentials
from connectors.deadline import CuttableAdapter, Deadline
from connectors.mllp.tls import reason_of
from schemas.errors import AccessRefused, ArchiveUnavailable, InvalidResource, ItemNotServed, ResourceRefused, StudyIncomplete

# urllib3 prints addresses, and headers that it cannot read
logging.getLogger("urllib3").setLevel(logging.ERROR)

_CHUNK = 1 << 18
#: bytes kept of an answer that is not what was asked for
_REFUSAL_LIMIT = 1 << 16
#: of the time of an exchange is for the answer; what is left of it for the question whether the archive is well
_SHARE = 0.8
#: what an archive, or the proxy before it, says of one item that it cannot get, or of every one
_OF_ONE_OR_ALL = frozenset({404, 500, 502, 504})
#: media types of DICOM JSON (PS3.18 annex F) and of what archives send instead of it
JSON_TYPES = frozenset({"application/dicom+json", "application/json"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. `content_type` as sent."""

    status: int
    content_type: str
    content: bytes
    headers: Mapping[str, str]

    @property
    def media_type(self) -> str:
        return self.content_type.partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Probe:
    """A cheap question about nothing that may be broken; a well archive answers 200 and JSON of this type, or 204 (nothing
    found, as QIDO-RS may say it)."""

    path: str
    type: type[list[object]] | type[dict[str, object]]


@dataclass(frozen=True, slots=True)
class _Question:
    """`step` and `reference` are for errors, the rest is sent."""

    method: str
    path: str
    step: str
    reference: str
    headers: Mapping[str, str]
    media_types: frozenset[str]
    params: Sequence[tuple[str, str]] = ()
    body: bytes | None = field(default=None, repr=False)


class ArchiveHttp:
    """A bounded pool of threads, each with one connection to the archive.

    `timeout_s` bounds each wait for the peer and, in total, the whole exchange with its tries (a server that drips for ever
    is cut); `size_limit` bounds the answer in bytes. After no answer in time, a broken one, 404, 500, 502, 504 and an answer of
    another type (a proxy's log-in page) `probe` is asked: is the archive well, and only this item is not? Redirects are not
    followed and proxies not used: patient data and credentials go to the address of the settings and nowhere else."""

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
        self._base_url = base_url.rstrip("/")
        self._probe = probe
        self._timeout_s = timeout_s
        self._size_limit = size_limit
        self._access = access
        self._credentials = Credentials(access)
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix="archive")
        self._sessions = threading.local()

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
        too slow, 404, other 5xx, not of `media_types`), ItemNotServed (the same, but for 404, from one that is well),
        StudyIncomplete (404 from one that is well, 410), AccessRefused (401, 403, a redirect), ResourceRefused (any other
        status that is not in `accepted_statuses`), InvalidResource (too large)."""
        headers = {"Accept": accept} | ({} if content_type is None else {"Content-Type": content_type})
        question = _Question(method, path, step, reference, headers, media_types, params, body)

        def call() -> Answer:
            end = time.monotonic() + self._timeout_s
            answer = None
            with Deadline(self._timeout_s * _SHARE) as deadline:
                try:
                    answer = self._ask(deadline, question)
                except ArchiveUnavailable as error:
                    if not deadline.reached:
                        raise
                    trouble = error.reason
            if answer is not None:
                accepted = answer.status in accepted_statuses
                if accepted and (answer.status == 204 or answer.media_type in media_types):
                    return answer
                if not accepted and answer.status not in _OF_ONE_OR_ALL:
                    raise _refusal(answer, step, reference)
                trouble = "an answer of another type than asked for" if accepted else f"HTTP status {answer.status}"
            with Deadline(max(end - time.monotonic(), 0.0)) as deadline:
                if not self._is_well(deadline, question):
                    raise ArchiveUnavailable(step, reference, f"{trouble}, and the archive is not well")
            if answer is not None and answer.status == 404:
                raise StudyIncomplete(step, reference, "HTTP status 404")
            raise ItemNotServed(step, reference, f"{trouble}, though the archive is well")

        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def close(self) -> None:
        """Waits for no exchange in progress: each ends within `timeout_s` by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False
            session.mount("http://", CuttableAdapter())
            session.mount("https://", CuttableAdapter())
            # Orthanc compresses with gzip when asked to: seen 300 ms instead of 10 ms for one radiograph
            session.headers["Accept-Encoding"] = "identity"
            # files are read for each new connection, so that they can be renewed
            if self._access.tls_ca is not None:
                session.verify = str(self._access.tls_ca)
            if self._access.tls_certificate is not None and self._access.tls_key is not None:
                session.cert = str(self._access.tls_certificate), str(self._access.tls_key)
            self._sessions.session = session
        return session

    def _ask(self, deadline: Deadline, question: _Question) -> Answer:
        credentials = self._credentials.header()
        answer = self._send(deadline, question, credentials)
        if answer.status == 401 and (renewed := self._credentials.header()) != credentials:
            answer = self._send(deadline, question, renewed)
        return answer

    def _is_well(self, deadline: Deadline, about: _Question) -> bool:
        question = _Question("GET", self._probe.path, about.step, about.reference, {"Accept": "*/*"}, JSON_TYPES)
        with contextlib.suppress(ArchiveUnavailable, InvalidResource, ValueError, RecursionError):
            answer = self._ask(deadline, question)
            return answer.status == 204 or (
                answer.status == 200
                and answer.media_type in JSON_TYPES
                and isinstance(json.loads(answer.content), self._probe.type)
            )
        return False

    def _send(self, deadline: Deadline, question: _Question, credentials: bytes | None) -> Answer:
        authorization = {} if credentials is None else {"Authorization": credentials}
        try:
            with self._session().request(
                question.method,
                self._base_url + question.path,
                params=list(question.params),
                data=question.body,
                headers={**question.headers, **authorization},
                timeout=deadline.seconds,
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = Answer(response.status_code, response.headers.get("Content-Type", ""), b"", response.headers)
                wanted = answer.status < 300 and answer.media_type in question.media_types
                content = bytearray()
                for chunk in response.iter_content(_CHUNK):
                    content += chunk
                    if not wanted and len(content) > _REFUSAL_LIMIT:
                        break  # whatever else comes: it says what it is
                    if len(content) > self._size_limit:
                        why = f"the answer is larger than {self._size_limit} bytes"
                        raise InvalidResource(question.step, question.reference, why)
                deadline.check()  # an answer without a length ends silently when its connection is cut
                return replace(answer, content=bytes(content))
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            # ValueError: urllib3 reads from a connection that was cut
            why = f"no complete answer within {deadline.seconds:g} s" if deadline.passed else _reason(error)
            raise ArchiveUnavailable(question.step, question.reference, why) from None


def _reason(error: BaseException) -> str:
    """What a person can act on: why TLS failed, in OpenSSL's words. Other texts of the library hold addresses."""
    name, cause = type(error).__name__, error
    for _ in range(8):  # requests wraps what urllib3 wraps
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {reason_of(cause)}: check the certificates on both sides"
        inside = [one for one in (getattr(cause, "reason", None), *cause.args, cause.__cause__) if isinstance(one, BaseException)]
        if not inside:
            break
        cause = inside[0]
    return name


def _refusal(answer: Answer, step: str, reference: str) -> Exception:
    status = answer.status
    if status == 401:
        return AccessRefused(step, reference, "HTTP status 401: check token_file, or user and password_file, of the archive")
    if status == 403 or 300 <= status < 400:
        return AccessRefused(step, reference, f"HTTP status {status}")
    if status in (404, 410):
        return StudyIncomplete(step, reference, f"HTTP status {status}")
    if status in (408, 429) or status >= 500:
        return ArchiveUnavailable(step, reference, f"HTTP status {status}")
    return ResourceRefused(step, reference, f"HTTP status {status}", answer.content)

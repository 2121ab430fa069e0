"""Connections to one archive, one a thread: a question is sent, and its answer read within bounds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import requests
import structlog
from urllib3.exceptions import HTTPError

from connectors.archive_access import ArchiveAccess, Credentials
from connectors.deadline import CuttableAdapter, Deadline
from connectors.spells import Spell
from connectors.tls import tls_failure
from schemas.errors import AccessRefused, ArchiveUnavailable, InvalidResource

# urllib3 prints addresses, and headers that it cannot read
logging.getLogger("urllib3").setLevel(logging.ERROR)

_log = structlog.get_logger()
_CHUNK = 1 << 18
#: bytes kept of an answer that is not what was asked for
_REFUSAL_LIMIT = 1 << 16


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

    @property
    def refuses(self) -> bool:
        """Us, and not what was asked. A redirect is one to a log-in, or to an address that is not that of the settings."""
        return self.status in (401, 403) or 300 <= self.status < 400


@dataclass(frozen=True, slots=True)
class Question:
    """`step` and `reference` are for errors, the rest is sent."""

    method: str
    path: str
    step: str
    reference: str
    headers: Mapping[str, str]
    media_types: frozenset[str]
    params: Sequence[tuple[str, str]] = ()
    body: bytes | None = field(default=None, repr=False)


class ArchiveConnection:
    """`size_limit` bounds an answer in bytes. Redirects are not followed and proxies not used: patient data and credentials go to
    the address of the settings and nowhere else."""

    def __init__(self, base_url: str, size_limit: int, access: ArchiveAccess) -> None:
        """Raises SettingsInvalid when a file of `access` cannot be used."""
        self._base_url = base_url.rstrip("/")
        self._size_limit = size_limit
        self._access = access
        self._credentials = Credentials(access)
        self._sessions = threading.local()
        self._without_token = Spell()

    def ask(self, deadline: Deadline, question: Question) -> Answer:
        """Whatever the archive answers; 401 too where a token endpoint gives us no token. Raises ArchiveUnavailable (no complete
        answer by the deadline), InvalidResource (too large)."""
        try:
            credentials = self._credentials.header(deadline.left_s)
            answer = self._send(deadline, question, credentials)
            if answer.status == 401:
                self._credentials.refused(credentials)
                if (renewed := self._credentials.header(deadline.left_s)) != credentials:
                    answer = self._send(deadline, question, renewed)
        except AccessRefused as error:  # by the token endpoint: without a token nothing goes
            if self._without_token.begin():  # why, no answer of the archive tells
                _log.error("the token endpoint gives no token", error=str(error), alarm=True)
            return Answer(401, "", b"", {})
        self._without_token.end()
        return answer

    def close(self) -> None:
        """Of this thread."""
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is not None:
            session.close()

    def _send(self, deadline: Deadline, question: Question, credentials: bytes | None) -> Answer:
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

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = requests.Session()
            self._access.prepare(session)
            session.mount("http://", CuttableAdapter())
            session.mount("https://", CuttableAdapter())
            # Orthanc compresses with gzip when asked to: seen 300 ms instead of 10 ms for one radiograph
            session.headers["Accept-Encoding"] = "identity"
            self._sessions.session = session
        return session


def _reason(error: Exception) -> str:
    """What a person can act on."""
    name = type(error).__name__
    return tls_failure(error) or (f"no connection ({name})" if isinstance(error, requests.ConnectionError) else name)

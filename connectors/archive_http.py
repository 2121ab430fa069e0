"""HTTP exchanges with one archive, each bounded in time, in size and in threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.retry import Retry

from schemas.errors import AccessRefused, ArchiveUnavailable, InvalidResource, ItemNotServed, ResourceRefused, StudyIncomplete

# urllib3 prints addresses, and headers that it cannot read
logging.getLogger("urllib3").setLevel(logging.ERROR)

_CHUNK = 1 << 18
_current = threading.local()


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


class ArchiveHttp:
    """A bounded pool of threads, each with one connection to the archive.

    `timeout_s` bounds each wait for the peer and, in total, the whole exchange (a server that drips for ever is cut);
    `size_limit` bounds the answer in bytes. `probe_path` is a cheap question, asked after a 500: is the archive well, and only
    this item is not? Redirects are not followed and proxies not used: patient data and the token
    go to the address of the settings and nowhere else."""

    def __init__(
        self, base_url: str, *, probe_path: str, timeout_s: float, size_limit: int, pool_size: int, token: str | None = None
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._probe_path = probe_path
        self._timeout_s = timeout_s
        self._size_limit = size_limit
        self._token = token
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
        params: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        content_type: str | None = None,
        accepted_statuses: frozenset[int] = frozenset({200}),
    ) -> Answer:
        """One request. Raises ArchiveUnavailable (no connection, too slow, 408, 429, 5xx), ItemNotServed (500 from an archive
        that is well), AccessRefused (401, 403, a redirect), StudyIncomplete (404, 410), ResourceRefused (any other status
        that is not in `accepted_statuses`), InvalidResource (too large)."""
        headers = {"Accept": accept}
        if content_type is not None:
            headers["Content-Type"] = content_type

        def call() -> Answer:
            return self._call(method, path, step, reference, headers, params, body)

        answer = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        if answer.status not in accepted_statuses:
            raise _refusal(answer, step, reference)
        return answer

    def close(self) -> None:
        """Waits for no exchange in progress: each ends within `timeout_s` by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False
            session.mount("http://", _Adapter())
            session.mount("https://", _Adapter())
            # Orthanc compresses with gzip when asked to: seen 300 ms instead of 10 ms for one radiograph
            session.headers["Accept-Encoding"] = "identity"
            if self._token is not None:
                session.headers["Authorization"] = f"Bearer {self._token}"
            self._sessions.session = session
        return session

    def _call(
        self,
        method: str,
        path: str,
        step: str,
        reference: str,
        headers: dict[str, str],
        params: Sequence[tuple[str, str]],
        body: bytes | None,
    ) -> Answer:
        with _Deadline(self._timeout_s) as deadline:
            answer = self._request(deadline, method, path, step, reference, headers, params, body)
            if answer.status == 500 and self._is_well(deadline, step, reference):
                raise ItemNotServed(step, reference, "HTTP status 500, though the archive is well")
            return answer

    def _is_well(self, deadline: _Deadline, step: str, reference: str) -> bool:
        with contextlib.suppress(ArchiveUnavailable, InvalidResource):
            answer = self._request(deadline, "GET", self._probe_path, step, reference, {"Accept": "*/*"}, (), None)
            return answer.status in (200, 204)  # 204: QIDO-RS found nothing
        return False

    def _request(
        self,
        deadline: _Deadline,
        method: str,
        path: str,
        step: str,
        reference: str,
        headers: dict[str, str],
        params: Sequence[tuple[str, str]],
        body: bytes | None,
    ) -> Answer:
        try:
            with self._session().request(
                method,
                self._base_url + path,
                params=list(params),
                data=body,
                headers=headers,
                timeout=self._timeout_s,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = bytearray()
                for chunk in response.iter_content(_CHUNK):
                    content += chunk
                    if len(content) > self._size_limit:
                        raise InvalidResource(step, reference, f"the answer is larger than {self._size_limit} bytes")
                deadline.check()  # an answer without a length ends silently when its connection is cut
                return Answer(response.status_code, response.headers.get("Content-Type", ""), bytes(content), response.headers)
        except (requests.RequestException, OSError, ValueError) as error:
            # ValueError: urllib3 reads from a connection that was cut
            why = f"no complete answer within {self._timeout_s:g} s" if deadline.passed else type(error).__name__
            raise ArchiveUnavailable(step, reference, why) from None


def _refusal(answer: Answer, step: str, reference: str) -> Exception:
    status = answer.status
    if status in (401, 403) or 300 <= status < 400:
        return AccessRefused(step, reference, f"HTTP status {status}")
    if status in (404, 410):
        return StudyIncomplete(step, reference, f"HTTP status {status}")
    if status in (408, 429) or status >= 500:
        return ArchiveUnavailable(step, reference, f"HTTP status {status}")
    return ResourceRefused(step, reference, f"HTTP status {status}", answer.content)


class _Deadline:
    """Cuts the connection of this thread's exchange when the time is up. Closing it would not wake the thread that waits
    for the peer, shutting it down does; time-outs of the socket alone start anew with every byte that drips in."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self.connection: HTTPConnection | None = None
        #: of the answer: a connection forgets it when the peer announces that it will close
        self.sock: socket.socket | None = None
        self._over = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        _current.deadline = self
        self._timer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True  # the connection may serve the next exchange from here on

    def check(self) -> None:
        if self.passed:
            raise TimeoutError

    def _cut(self) -> None:
        with self._lock:
            if self._over:
                return
            self.passed = True
            sock = self.sock or (self.connection.sock if self.connection is not None else None)
            if sock is not None:
                with contextlib.suppress(OSError):  # not connected any more
                    sock.shutdown(socket.SHUT_RDWR)


class _Cuttable:
    """Mixed into a connection: tells the deadline of the thread which connection its exchange uses."""

    def request(self, *args: Any, **kwargs: Any) -> None:
        _current.deadline.check()  # no second try after the deadline
        _current.deadline.connection, _current.deadline.sock = self, None
        super().request(*args, **kwargs)  # type: ignore[misc]
        _current.deadline.sock = self.sock  # type: ignore[attr-defined]


class _Connection(_Cuttable, HTTPConnection):
    pass


class _TlsConnection(_Cuttable, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """One more try of a GET whose kept-alive connection the server closed just then (Orthanc: after 1 s)."""

    def __init__(self) -> None:
        super().__init__(max_retries=Retry(total=1, connect=0, read=1, redirect=0, status=0, other=0, allowed_methods={"GET"}))

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

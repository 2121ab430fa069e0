"""HTTP exchanges that end in time: tried again while there is time, cut when there is none."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import InvalidHeader, MaxRetryError, ResponseError
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

_current = threading.local()


class Deadline:
    """Cuts the connection of this thread's exchange when the time is up. Closing it would not wake the thread that waits
    for the peer, shutting it down does; time-outs of the socket alone start anew with every byte that drips in."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        #: whether the last try had a connection: then the peer is there, whatever it answers
        self.reached = False
        self.connection: HTTPConnection | None = None
        #: of the answer: a connection forgets it when the peer announces that it will close
        self.sock: socket.socket | None = None
        self._over = False
        self._lock = threading.Lock()
        #: one exchange may need another first, for a token: then that one's is within this one's
        self._around: Deadline | None = None
        #: monotonic: it measures waiting, it dates nothing
        self._end = time.monotonic() + seconds
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._around = getattr(_current, "deadline", None)
        _current.deadline = self
        self._timer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True  # the connection may serve the next exchange from here on
        _current.deadline = self._around

    @property
    def left_s(self) -> float:
        """Zero when it has passed."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whoever notices it first: the timer, which is late on a busy machine, or a socket that has waited as long."""
        return self.left_s == 0

    def check(self) -> None:
        """Raises TimeoutError."""
        if self.passed:
            raise TimeoutError

    def _cut(self) -> None:
        with self._lock:
            if self._over:
                return
            sock = self.sock or (self.connection.sock if self.connection is not None else None)
            if sock is not None:
                with contextlib.suppress(OSError):  # not connected any more
                    sock.shutdown(socket.SHUT_RDWR)


class _Cuttable:
    """Mixed into a connection: tells the deadline of the thread which connection its exchange uses."""

    def connect(self) -> None:
        _current.deadline.check()
        _current.deadline.reached = False
        self.timeout = max(_current.deadline.left_s, 0.001)  # there is nothing to cut yet; 0 would be "do not wait"
        super().connect()  # type: ignore[misc]
        _current.deadline.reached = True

    def request(self, *args: Any, **kwargs: Any) -> None:
        _current.deadline.check()  # no second try after the deadline
        _current.deadline.connection, _current.deadline.sock = self, None
        _current.deadline.reached = self.sock is not None  # type: ignore[attr-defined]
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


class _Retry(Retry):
    """The first try again is at once: the server may have closed a kept connection just then (Orthanc: after 1 s). Further
    ones wait, or as long as the server asks for (Retry-After), but never past the deadline: then what came is the answer."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Self:
        following = super().increment(method, url, response, error, _pool, _stacktrace)
        if following._pause_s(response) >= _current.deadline.left_s:
            raise MaxRetryError(_pool, url or "", error or ResponseError("no time left")) from error
        return following

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        time.sleep(self._pause_s(response))

    def _pause_s(self, response: BaseHTTPResponse | None) -> float:
        asked = None
        if response is not None:
            with contextlib.suppress(InvalidHeader):
                asked = self.get_retry_after(response)
        return self.get_backoff_time() if asked is None else asked


class CuttableAdapter(HTTPAdapter):
    """For exchanges inside a `Deadline`. Tried again, after 0, 0.2, 0.4 and 0.8 s: a connection that cannot be made, or breaks
    before the answer begins, and 429, 502, 503 or 504. All that is asked of an archive may be repeated: a GET (RFC 9110 9.2.2),
    and the one POST, STOW-RS, for the same instances stored again are the same. Not a failed TLS handshake."""

    def __init__(self) -> None:
        retry = _Retry(
            total=4,
            redirect=0,
            other=0,
            allowed_methods={"GET", "POST"},
            status_forcelist={429, 502, 503, 504},
            raise_on_status=False,
            backoff_factor=0.1,
        )
        super().__init__(max_retries=retry)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

"""A small real HTTP proxy that stands before a real server and, on command, answers wrongly, hangs or cuts the line."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import requests

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-encoding", "content-length", "keep-alive", "server", "date"}


@dataclass(frozen=True)
class Fault:
    """`answer`: `status`, `media_type` and `body`, the server never sees the request. `hang`: accepted, never answered. `drip`: an
    answer that comes byte by byte and never ends. `cut`: the connection is closed unanswered. `lose-answer`: the server does what
    was asked, then the connection is closed; `break-off`: in the middle of its answer. Only requests of `method` are hit, and those
    that have `about` in their path or body."""

    kind: Literal["answer", "hang", "drip", "cut", "lose-answer", "break-off"]
    status: int = 0
    body: bytes = b"{}"
    method: str | None = None
    about: str | None = None
    media_type: str = "application/fhir+json"

    def hits(self, method: str, path: str, body: bytes) -> bool:
        about = self.about is None or self.about in path or self.about.encode() in body
        return about and self.method in (None, method)


class FaultProxy:
    """`url` stands for `target`. `fault` is in force until changed; None: all passes."""

    def __init__(self, target: str) -> None:
        self.fault: Fault | None = None
        self._seen: Counter[str] = Counter()
        self._arrival = threading.Condition()
        self._released = threading.Event()
        scheme, _, rest = target.partition("://")
        self._origin, slash, path = rest.partition("/")
        self._origin = f"{scheme}://{self._origin}"
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy._handle(self)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}{slash}{path}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    async def reached(self, times: int, method: str | None = None, timeout_s: float = 60) -> None:
        """Returns when that many requests (of `method`) have come since now, whatever has become of them."""

        def count() -> int:
            return self._seen.total() if method is None else self._seen[method]

        def wait(enough: int) -> bool:
            with self._arrival:
                return self._arrival.wait_for(lambda: count() >= enough, timeout_s)

        if not await asyncio.to_thread(wait, count() + times):
            raise TimeoutError(f"no {times} requests within {timeout_s:g} s")

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        method, fault = request.command, self.fault
        with self._arrival:
            self._seen[method] += 1
            self._arrival.notify_all()
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if fault is None or not fault.hits(method, request.path, body):
            self._pass_on(request, body)
            return
        if fault.kind == "answer":
            _answer(request, fault.status, {"Content-Type": fault.media_type}, fault.body)
            return
        request.close_connection = True
        if fault.kind == "lose-answer":
            self._ask(request, body)
        elif fault.kind == "break-off":
            answer = self._ask(request, body)
            _begin(request, answer.status_code, _headers(answer), len(answer.content))
            request.wfile.write(answer.content[: len(answer.content) // 2])
        elif fault.kind == "hang":
            self._released.wait()
        elif fault.kind == "drip":
            self._drip(request)

    def _drip(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        try:
            while not self._released.wait(0.05):
                request.wfile.write(b" ")
        except OSError:
            pass  # the client has gone, as it should

    def _ask(self, request: BaseHTTPRequestHandler, body: bytes) -> requests.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in {"host", *_HOP_BY_HOP}}
        return requests.request(request.command, self._origin + request.path, data=body or None, headers=headers, timeout=60)

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        answer = self._ask(request, body)
        _answer(request, answer.status_code, _headers(answer), answer.content)


def _headers(answer: requests.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}


def _answer(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    _begin(request, status, headers, len(body))
    request.wfile.write(body)


def _begin(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], length: int) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(length))
    request.end_headers()


@contextmanager
def fault_proxy(target: str) -> Iterator[FaultProxy]:
    proxy = FaultProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()

"""A real HTTP server on loopback whose answers a test writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """`reply` writes the answer; `release` is set when the test is over."""

    protocol_version = "HTTP/1.1"
    reply: Callable[[Handler], None]
    release: threading.Event

    def do_GET(self) -> None:
        with suppress(OSError):  # the client has cut the connection: what these tests are about
            type(self).reply(self)

    do_POST = do_GET

    def answer(self, status: int, content_type: str, content: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def http_peer(reply: Callable[[Handler], None]) -> Iterator[str]:
    """Address of a server that answers every request with `reply`."""
    release = threading.Event()
    handler = type("_Scripted", (Handler,), {"reply": staticmethod(reply), "release": release})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        release.set()
        server.shutdown()
        thread.join()
        server.server_close()

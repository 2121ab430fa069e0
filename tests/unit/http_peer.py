"""A real HTTP server on loopback whose answers a test writes."""

from __future__ import annotations

import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """`reply` writes the answer; `release` is set when the test is over."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait 40 ms for the first to be acknowledged
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

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):  # a handshake that fails is what these tests are about
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def http_peer(reply: Callable[[Handler], None], tls: ssl.SSLContext | None = None, *, deaf_s: float = 0) -> Iterator[str]:
    """Address of a server that answers every request with `reply`; for `deaf_s` it refuses connections."""
    release = threading.Event()
    handler = type("_Scripted", (Handler,), {"reply": staticmethod(reply), "release": release})
    server = _Server(("127.0.0.1", 0), handler, bind_and_activate=False)
    server.server_bind()
    if not deaf_s:
        server.server_activate()

    def serve() -> None:
        if deaf_s:
            time.sleep(deaf_s)
            server.server_activate()
        server.serve_forever(poll_interval=0.02)

    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
    finally:
        release.set()
        server.shutdown()
        thread.join()
        server.server_close()

"""A web server that takes findings as docs/receivers.md tells it to: real HTTP, signatures checked by the library of Standard
Webhooks, replays dropped, the latest state of each study and service kept. A test may make it fail."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

from schemas.events import FINDINGS_TYPE
from schemas.findings import Findings

#: of this many bytes a secret is; in a file of SigningSecrets it is a line
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRET_2 = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


#: answers in the server's place: a status, a status and a body, or "close" (the connection, unanswered), or "hang"
Fault = Callable[[Request], int | tuple[int, bytes] | str | None]


@dataclass
class WebhookServer:
    """`requests`: all that came; `taken`: of each webhook-id the body that was let in, once, in order."""

    url: str = ""
    secrets: list[str] = field(default_factory=lambda: [SECRET])
    fault: Fault = lambda request: None
    requests: list[Request] = field(default_factory=list)
    taken: dict[str, Request] = field(default_factory=dict)
    repeated: int = 0
    held: dict[tuple[str, str], Findings] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def posts(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    def wait_for(self, wanted: Callable[[WebhookServer], object], timeout_s: float = 60) -> None:
        """Until what it took fulfils `wanted`."""
        with self.changed:
            assert self.changed.wait_for(lambda: wanted(self), timeout_s), f"{len(self.taken)} messages came"

    def answer(self, request: Request) -> int | tuple[int, bytes] | str:
        with self.changed:
            self.requests.append(request)
            if (fault := self.fault(request)) is not None:
                return fault
            if request.method != "POST":
                return 405
            return self._take(request)

    def _take(self, request: Request) -> int:
        if not any(self._verified(request, secret) for secret in self.secrets):
            return 401
        if request.id in self.taken:
            self.repeated += 1
            return 200  # done already
        self.taken[request.id] = request
        if request.headers["ce-type"] == FINDINGS_TYPE:
            state = Findings.model_validate_json(request.body)
            key = state.subject.study_instance_uid, state.service
            if key not in self.held or self.held[key].subject.sequence <= state.subject.sequence:
                self.held[key] = state
        self.changed.notify_all()
        return 200

    def _verified(self, request: Request, secret: str) -> bool:
        try:
            Webhook(secret).verify(request.body, dict(request.headers))
        except WebhookVerificationError:
            return False
        return True


@contextmanager
def webhook_server(tls: ssl.SSLContext | None = None) -> Iterator[WebhookServer]:
    """One that runs, on loopback."""
    served = WebhookServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with suppress(OSError):  # the client has cut the connection
                match served.answer(Request(self.command, self.path, headers, body)):
                    case int(status):
                        self._answer(status, b"")
                    case (int(status), bytes(content)):
                        self._answer(status, content)
                    case "hang":
                        served.over.wait(30)
                        self.close_connection = True
                    case _:
                        self.close_connection = True

        do_OPTIONS = do_GET = do_POST

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{served.url}/elsewhere")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """Silent: a handshake that fails is its client's business."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    served.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}/findings?site=1"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
    thread.start()
    try:
        yield served
    finally:
        served.over.set()
        server.shutdown()
        thread.join()
        server.server_close()

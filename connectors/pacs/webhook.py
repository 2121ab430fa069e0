"""An HTTP server to which an archive, or whoever stands before it, posts what happened to a study."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from connectors.archive_access import ArchiveAccess
from connectors.door import Door
from connectors.listening import Listening
from connectors.pacs.webhook_body import notice_of
from connectors.refusals import Refusals, raised_at
from connectors.tls import CertificateFiles, ServerTls
from schemas.errors import MalformedMessage, SettingsInvalid, Unavailable
from schemas.ports import Clock
from schemas.study_ports import Tell

#: bytes of a body: the UIDs of about a thousand instances
BODY_LIMIT = 64 * 1024
#: connections at a time; each has one request at a time
_CONNECTIONS = 32
#: seconds that a caller may take for its headers or between two requests, for a body, and for what is not read any more
_IDLE_S, _BODY_S, _LINGER_S = 15.0, 5.0, 2.0
#: at the end requests get so long; longer than a body may take
_STOP_S = 8.0
_RETRY_S = 5

_NOT_TAKEN = "a notice is not taken"

#: aiohttp's own lines hold addresses and what could not be read
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)
_log = structlog.get_logger()


class Webhook:
    """`StudyListener`: POST /studies with the bearer token that `token_file` holds at that moment, and GET /health.

    `port` 0: any free one, see `port` once it is ready. `certificate` and `key`: PEM, read again when they change; without them
    plain HTTP."""

    name = "webhook"

    def __init__(
        self,
        clock: Clock,
        *,
        token_file: Path,
        default_accession_assigner: str,
        host: str = "127.0.0.1",
        port: int = 8088,
        certificate: Path | None = None,
        key: Path | None = None,
        body_s: float = _BODY_S,
        idle_s: float = _IDLE_S,
        connections: int = _CONNECTIONS,
    ) -> None:
        self.port = port
        self._host = host
        self._clock = clock
        self._access = ArchiveAccess(token_file=token_file)
        self._assigner = default_accession_assigner
        self._files = CertificateFiles(certificate, key) if certificate and key else None
        self._body_s, self._idle_s, self._connections = body_s, idle_s, connections
        self._refusals = Refusals()

    async def listen(self, tell: Tell, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """See `StudyListener.listen`. Raises SettingsInvalid also when the token cannot be used."""
        self._authorization()
        door = Door(connections=self._connections, tls=ServerTls(self._files) if self._files else None)
        app = web.Application(client_max_size=BODY_LIMIT, middlewares=[self._answered])
        app.add_routes([web.post("/studies", partial(self._studies, tell)), web.get("/health", _health)])
        runner = web.AppRunner(app, shutdown_timeout=_STOP_S)
        listening = await Listening.bound(self.name, self._host, self.port)
        self.port = listening.port
        try:
            await runner.setup()
            server = runner.server
            assert server is not None
            await listening.until(stop, door, partial(self._connection, server), lambda: set(server.connections), ready)
        finally:
            listening.close()
            door.close()
            await runner.cleanup()

    def _connection(self, server: web.Server) -> web.RequestHandler:
        return _Connection(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=self._idle_s,
            lingering_time=_LINGER_S,
            logger=_SILENT,
            access_log=_SILENT,
            auto_decompress=False,
        )

    async def _studies(self, tell: Tell, request: web.Request) -> web.Response:
        self._require_token(request)
        body = await self._body(request)
        notice = notice_of(body, source=self.name, time=self._clock.now(), default_accession_assigner=self._assigner)
        await tell([notice])
        return web.json_response({"id": str(notice.id)}, status=HTTPStatus.ACCEPTED)

    def _require_token(self, request: web.Request) -> None:
        """Raises SettingsInvalid when the file cannot be used: then nobody gets in, also with the token of before."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        shown = b"Bearer " + token.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() != "bearer" or not hmac.compare_digest(shown, self._authorization()):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": 'Bearer realm="radstream"'})

    def _authorization(self) -> bytes:
        """Raises SettingsInvalid."""
        try:
            return self._access.authorization() or b""
        except SettingsInvalid as error:
            raise SettingsInvalid(self.name, error.reference, error.reason) from None

    async def _body(self, request: web.Request) -> bytes:
        if request.content_type != "application/json" or "Content-Encoding" in request.headers:
            raise web.HTTPUnsupportedMediaType
        if (request.content_length or 0) > BODY_LIMIT:
            raise web.HTTPRequestEntityTooLarge(BODY_LIMIT)
        try:
            async with asyncio.timeout(self._body_s):
                return await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except (ConnectionError, web.RequestPayloadError):
            raise MalformedMessage(self.name, "body", "it breaks off") from None

    @web.middleware
    async def _answered(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        """Every error as an answer that says what to do, and as a line for whoever looks after the engine."""
        try:
            answer: web.StreamResponse = await handler(request)
        except web.HTTPException as refused:
            kept = {name: value for name, value in refused.headers.items() if name in ("Allow", "WWW-Authenticate")}
            return self._refused(request, refused.status, _ADVICE.get(refused.status, ""), **kept)
        except MalformedMessage as error:
            return self._refused(request, HTTPStatus.BAD_REQUEST, error.reason)
        except (Unavailable, SettingsInvalid) as error:
            self._refusals.warn(_NOT_TAKEN, source=self.name, error=str(error))
            advice = "nothing was taken; post it again later"
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, advice, **{"Retry-After": str(_RETRY_S)})
        return answer

    def _refused(self, request: web.Request, status: int, advice: str, **headers: str) -> web.Response:
        self._refusals.warn(_NOT_TAKEN, source=self.name, peer=request.remote, status=int(status), reason=advice)
        return _problem(status, advice, **headers)


#: what a caller can do
_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "send Authorization: Bearer with the token of this webhook",
    HTTPStatus.NOT_FOUND: "post to /studies",
    HTTPStatus.METHOD_NOT_ALLOWED: "POST /studies, GET /health",
    HTTPStatus.REQUEST_TIMEOUT: "the body did not come in time; post it again",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"a notice has at most {BODY_LIMIT} bytes; instance_count can stand for instances",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "send Content-Type: application/json without Content-Encoding",
}


class _Connection(web.RequestHandler):
    """aiohttp's, but its errors are ours: its own quote what was sent."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.critical("a request failed", source=Webhook.name, error=type(exc).__name__, at=raised_at(exc))
        answer = _problem(status, "" if status == HTTPStatus.INTERNAL_SERVER_ERROR else "this is no HTTP/1.1 that can be read")
        answer.force_close()
        return answer


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"status": "up"})


def _problem(status: int, advice: str, **headers: str) -> web.Response:
    """RFC 9457"""
    told = {"status": int(status), "title": HTTPStatus(status).phrase, "detail": advice}
    return web.json_response(told, status=status, headers=headers, content_type="application/problem+json")

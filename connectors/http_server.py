"""An HTTP server behind a door of ours: TLS, a bearer token, limits. What was sent is neither logged nor sent back."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from connectors.archive_access import ArchiveAccess
from connectors.door import Door
from connectors.listening import Listening
from connectors.refusals import Refusals, raised_at
from connectors.tls import CertificateFiles, ServerTls
from schemas.errors import MalformedMessage, SettingsInvalid

#: seconds for what of a refused request is not read any more
_LINGER_S = 2.0

#: aiohttp's own lines hold addresses and what could not be read
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)
_log = structlog.get_logger()


class Refuse(Protocol):
    """How this server says no: the status, and in words what a caller can do."""

    def __call__(self, status: int, advice: str, **headers: str) -> web.Response: ...


class HttpServer:
    """`name`: of the server in log and errors; `event`: of a refusal in the log.

    `port` 0: any free one, see `port` once it is ready. `token_file`: the bearer token that callers must show, read again for each;
    None: none. `certificate` and `key`: PEM, read again when they change; without them plain HTTP. `size_limit`: bytes of a body.
    In seconds: `body_s` for a body, `idle_s` for headers or between two requests, `stop_s` for requests in flight at the end."""

    def __init__(
        self,
        name: str,
        event: str,
        refuse: Refuse,
        *,
        host: str,
        port: int,
        token_file: Path | None,
        certificate: Path | None,
        key: Path | None,
        size_limit: int,
        connections: int,
        body_s: float,
        idle_s: float,
        stop_s: float,
    ) -> None:
        self.port = port
        self._name, self._event, self._refuse = name, event, refuse
        self._host = host
        self._access = ArchiveAccess(token_file=token_file)
        self._files = CertificateFiles(certificate, key) if certificate and key else None
        self._size_limit, self._connections = size_limit, connections
        self._body_s, self._idle_s, self._stop_s = body_s, idle_s, stop_s
        self._refusals = Refusals()

    async def listen(
        self,
        routes: Iterable[web.RouteDef],
        answered: Middleware,
        stop: asyncio.Event,
        ready: Callable[[], None],
        *,
        cancelled_with_caller: bool = False,
    ) -> None:
        """Until `stop`: what is in flight then is answered first. `ready` is called once the address is bound. `answered` turns
        errors into answers. `cancelled_with_caller`: nobody wants the answer of one who has gone. Raises SettingsInvalid (the
        address is taken, a certificate or the token cannot be used)."""
        self._authorization()
        door = Door(connections=self._connections, tls=ServerTls(self._files) if self._files else None)
        app = web.Application(client_max_size=self._size_limit, middlewares=[answered])
        app.add_routes(routes)
        runner = web.AppRunner(app, shutdown_timeout=self._stop_s, handler_cancellation=cancelled_with_caller)
        listening = await Listening.bound(self._name, self._host, self.port)
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

    def require_token(self, request: web.Request) -> None:
        """Raises SettingsInvalid when the file cannot be used: then nobody gets in, also with the token of before."""
        wanted = self._authorization()
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        shown = b"Bearer " + token.strip().encode("utf-8", "surrogateescape")
        if wanted is not None and (scheme.lower() != "bearer" or not hmac.compare_digest(shown, wanted)):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": 'Bearer realm="radstream"'})

    async def body(self, request: web.Request) -> bytes:
        """Whole, and no larger or slower than is allowed. Raises HTTPException, MalformedMessage."""
        if "Content-Encoding" in request.headers:
            raise web.HTTPUnsupportedMediaType
        if (request.content_length or 0) > self._size_limit:
            raise web.HTTPRequestEntityTooLarge(self._size_limit)
        try:
            async with asyncio.timeout(self._body_s):
                return await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except (ConnectionError, web.RequestPayloadError):
            raise MalformedMessage(self._name, "body", "it breaks off") from None

    def refused(self, request: web.Request, status: int, advice: str, **headers: str) -> web.Response:
        """What the caller did wrong, told to both sides."""
        self._refusals.warn(self._event, source=self._name, peer=request.remote, status=int(status), reason=advice)
        return self._refuse(status, advice, **headers)

    def refused_as(self, request: web.Request, refused: web.HTTPException, advice: str) -> web.Response:
        """The same of an exception of aiohttp."""
        kept = {name: value for name, value in refused.headers.items() if name in ("Allow", "WWW-Authenticate")}
        return self.refused(request, refused.status, advice, **kept)

    def failed(self, error: Exception) -> None:
        """What a caller cannot mend is told to whoever looks after the server. `error`: one of ours, whose text is safe."""
        self._refusals.warn(self._event, source=self._name, error=str(error))

    def _authorization(self) -> bytes | None:
        try:
            return self._access.authorization()
        except SettingsInvalid as error:
            raise SettingsInvalid(self._name, error.reference, error.reason) from None

    def _connection(self, server: web.Server) -> web.RequestHandler:
        return _Connection(
            server,
            self._name,
            self._refuse,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=self._idle_s,
            lingering_time=_LINGER_S,
            logger=_SILENT,
            access_log=_SILENT,
            auto_decompress=False,
        )


class _Connection(web.RequestHandler):
    """aiohttp's, but its errors are ours: its own quote what was sent."""

    def __init__(self, server: web.Server, name: str, refuse: Refuse, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._name, self._refuse = name, refuse

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        fault = status == HTTPStatus.INTERNAL_SERVER_ERROR
        if fault:
            _log.critical("a request failed", source=self._name, error=type(exc).__name__, at=raised_at(exc))
        answer = self._refuse(status, "a fault of this server" if fault else "this is no HTTP/1.1 that can be read")
        answer.force_close()
        return answer

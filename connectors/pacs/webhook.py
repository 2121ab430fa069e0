"""An HTTP server to which an archive, or whoever stands before it, posts what happened to a study."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from connectors.http_server import HttpServer
from connectors.pacs.webhook_body import notice_of
from schemas.errors import MalformedMessage, SettingsInvalid, Unavailable
from schemas.ports import Clock
from schemas.study_ports import Tell

#: bytes of a body: the UIDs of about a thousand instances
BODY_LIMIT = 64 * 1024
#: connections at a time; each has one request at a time
_CONNECTIONS = 32
#: seconds that a caller may take for its headers or between two requests, and for a body
_IDLE_S, _BODY_S = 15.0, 5.0
#: at the end requests get so long; longer than a body may take
_STOP_S = 8.0
_RETRY_S = 5


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
        self._clock = clock
        self._assigner = default_accession_assigner
        self._http = HttpServer(
            self.name,
            "a notice is not taken",
            _problem,
            host=host,
            port=port,
            token_file=token_file,
            certificate=certificate,
            key=key,
            size_limit=BODY_LIMIT,
            connections=connections,
            body_s=body_s,
            idle_s=idle_s,
            stop_s=_STOP_S,
        )

    @property
    def port(self) -> int:
        return self._http.port

    async def listen(self, tell: Tell, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """See `StudyListener.listen`. Raises SettingsInvalid also when the token cannot be used."""
        routes = [web.post("/studies", partial(self._studies, tell)), web.get("/health", _health)]
        await self._http.listen(routes, self._answered, stop, ready)

    async def _studies(self, tell: Tell, request: web.Request) -> web.Response:
        self._http.require_token(request)
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType
        body = await self._http.body(request)
        notice = notice_of(body, source=self.name, time=self._clock.now(), default_accession_assigner=self._assigner)
        await tell([notice])
        return web.json_response({"id": str(notice.id)}, status=HTTPStatus.ACCEPTED)

    @web.middleware
    async def _answered(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        """Every error as an answer that says what to do, and as a line for whoever looks after the engine."""
        try:
            answer: web.StreamResponse = await handler(request)
        except web.HTTPException as refused:
            return self._http.refused_as(request, refused, _ADVICE.get(refused.status, ""))
        except MalformedMessage as error:
            return self._http.refused(request, HTTPStatus.BAD_REQUEST, error.reason)
        except (Unavailable, SettingsInvalid) as error:
            self._http.failed(error)
            advice = "nothing was taken; post it again later"
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, advice, **{"Retry-After": str(_RETRY_S)})
        return answer


#: what a caller can do
_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "send Authorization: Bearer with the token of this webhook",
    HTTPStatus.NOT_FOUND: "post to /studies",
    HTTPStatus.METHOD_NOT_ALLOWED: "POST /studies, GET /health",
    HTTPStatus.REQUEST_TIMEOUT: "the body did not come in time; post it again",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"a notice has at most {BODY_LIMIT} bytes; instance_count can stand for instances",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "send Content-Type: application/json without Content-Encoding",
}


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"status": "up"})


def _problem(status: int, advice: str, **headers: str) -> web.Response:
    """RFC 9457"""
    told = {"status": int(status), "title": HTTPStatus(status).phrase, "detail": advice}
    return web.json_response(told, status=status, headers=headers, content_type="application/problem+json")

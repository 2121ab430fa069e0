"""An HTTP server of the Open Inference Protocol v2 for whatever models it is given. Of what was sent nothing is logged, and nothing
but the `id` of a request is sent back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from connectors.http_server import HttpServer
from connectors.inference_errors import error_answer, later, status_of
from connectors.inference_served import Served, answer_of, request_of
from schemas.errors import (
    AccessRefused,
    InvalidResource,
    MalformedMessage,
    ModelFailed,
    NotYet,
    RadstreamError,
    SettingsInvalid,
    Unavailable,
)

_NAME = "serve"
#: connections at a time, and requests among them whose bodies are held in memory
_CONNECTIONS, _REQUESTS = 64, 8
#: seconds that a caller may take for its headers or between two requests, and for a body
_IDLE_S, _BODY_S = 15.0, 60.0
#: at the end requests get so long
_STOP_S = 20.0
_HEADER_LENGTH = "Inference-Header-Content-Length"
_log = structlog.get_logger()


class InferenceServer:
    """Of several versions of a model the first is the one for whoever names none.

    `port` 0: any free one, see `port` once it is ready. `token_file`: the bearer token that callers must show; None: none, but for
    health, which needs none. `certificate` and `key`: PEM, read again when they change; without them plain HTTP. `size_limit`:
    bytes of a body."""

    def __init__(
        self,
        models: Sequence[Served],
        *,
        version: str,
        host: str = "127.0.0.1",
        port: int = 8091,
        size_limit: int,
        token_file: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        requests: int = _REQUESTS,
        body_s: float = _BODY_S,
        idle_s: float = _IDLE_S,
    ) -> None:
        self._models: dict[str, dict[str, Served]] = {}
        for one in models:
            self._models.setdefault(one.name, {})[one.version] = one
        self._about = {"name": "radstream", "version": version, "extensions": ["binary_tensor_data"]}
        self._free = requests
        self._http = HttpServer(
            _NAME,
            "a request is refused",
            error_answer,
            host=host,
            port=port,
            token_file=token_file,
            certificate=certificate,
            key=key,
            size_limit=size_limit,
            connections=_CONNECTIONS,
            body_s=body_s,
            idle_s=idle_s,
            stop_s=_STOP_S,
        )

    @property
    def port(self) -> int:
        return self._http.port

    async def listen(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """See `HttpServer.listen`."""
        await self._http.listen(self._routes(), self._answered, stop, ready, cancelled_with_caller=True)

    def _routes(self) -> list[web.RouteDef]:
        """Table of required_api, "HTTP/REST"."""
        routes = [
            web.get("/v2/health/live", self._live),
            web.get("/v2/health/ready", self._ready),
            web.get("/v2", self._server_metadata),
        ]
        for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            routes.append(web.get(model, self._model_metadata))
            routes.append(web.get(f"{model}/ready", self._model_ready))
            routes.append(web.post(f"{model}/infer", self._infer))
        return routes

    async def _live(self, request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, request: web.Request) -> web.Response:
        """[Server Ready]: all of the models."""
        ready = all(await asyncio.gather(*(one.ready() for versions in self._models.values() for one in versions.values())))
        return web.json_response({"live": True, "ready": ready}, status=status_of(ready))

    async def _server_metadata(self, request: web.Request) -> web.Response:
        self._http.require_token(request)
        return web.json_response(self._about)

    async def _model_metadata(self, request: web.Request) -> web.Response:
        self._http.require_token(request)
        served = self._served(request)
        return web.json_response(served.metadata(list(self._models[served.name])))

    async def _model_ready(self, request: web.Request) -> web.Response:
        served = self._served(request)
        ready = await served.ready()
        return web.json_response({"name": served.name, "ready": ready}, status=status_of(ready))

    async def _infer(self, request: web.Request) -> web.Response:
        self._http.require_token(request)
        served = self._served(request)
        if not self._free:
            return later("there are too many requests at the moment")
        self._free -= 1
        try:
            body, header_length = await self._http.body(request), request.headers.get(_HEADER_LENGTH)
            asked = await asyncio.to_thread(request_of, served, body, header_length)
            del body
            tensors = await served.infer(asked.inputs, asked.parameters)
            try:
                answer, length = await asyncio.to_thread(answer_of, served, asked, tensors)
            except ValueError as error:
                raise ModelFailed("inference", f"{served.name}/{served.version}", str(error)) from None
        finally:
            self._free += 1
        if length is None:
            return web.Response(body=answer, content_type="application/json")
        return web.Response(body=answer, content_type="application/octet-stream", headers={_HEADER_LENGTH: length})

    def _served(self, request: web.Request) -> Served:
        versions = self._models.get(request.match_info["name"], {})
        named = request.match_info.get("version") or next(iter(versions), "")
        served = versions.get(named)
        if served is None:
            raise web.HTTPNotFound
        return served

    @web.middleware
    async def _answered(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        """Every error as an answer that says what to do, and as a line for whoever looks after the server."""
        try:
            answer: web.StreamResponse = await handler(request)
        except web.HTTPException as refused:
            return self._http.refused_as(request, refused, _ADVICE.get(refused.status, HTTPStatus(refused.status).phrase))
        except (MalformedMessage, InvalidResource) as error:
            return self._http.refused(request, HTTPStatus.BAD_REQUEST, f"{error.reference}: {error.reason}")
        except (Unavailable, NotYet, SettingsInvalid) as error:
            self._http.failed(error)
            return later(f"{type(error).__name__}: ask again later")
        except MemoryError:
            return self._http.refused(
                request, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too much for the memory here: send fewer at a time"
            )
        except RadstreamError as error:
            _log.error("a request failed", source=_NAME, error=str(error))
            status = HTTPStatus.BAD_GATEWAY if isinstance(error, AccessRefused) else HTTPStatus.INTERNAL_SERVER_ERROR
            return error_answer(status, f"{type(error).__name__}: whoever looks after this server finds the reason in its log")
        return answer


#: what a caller can do
_ADVICE: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "send Authorization: Bearer with the token of this server",
    HTTPStatus.NOT_FOUND: "there is no such model or version here, or no such address",
    HTTPStatus.REQUEST_TIMEOUT: "the body did not come in time",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is larger than this server takes",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "send it without Content-Encoding",
}

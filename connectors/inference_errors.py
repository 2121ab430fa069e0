"""How an inference server says no: [Inference Response JSON Error Object] of required_api.md, for every request."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from aiohttp import web

from connectors.refusals import raised_at

_SOURCE = "serve"
_RETRY_S = 1
_log = structlog.get_logger()


class Connection(web.RequestHandler):
    """aiohttp's, but its errors are ours: its own quote what was sent."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        fault = status == HTTPStatus.INTERNAL_SERVER_ERROR
        if fault:
            _log.critical("a request failed", source=_SOURCE, error=type(exc).__name__, at=raised_at(exc))
        answer = error_answer(status, "a fault of this server" if fault else "this is no HTTP/1.1 that can be read")
        answer.force_close()
        return answer


def status_of(ready: bool) -> int:
    return HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE


def later(why: str) -> web.Response:
    return error_answer(HTTPStatus.SERVICE_UNAVAILABLE, why, **{"Retry-After": str(_RETRY_S)})


def error_answer(status: int, why: str, **headers: str) -> web.Response:
    return web.json_response({"error": why}, status=status, headers=headers)

"""How an inference server says no: [Inference Response JSON Error Object] of required_api.md, for every request."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

_RETRY_S = 1


def status_of(ready: bool) -> int:
    return HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE


def later(why: str) -> web.Response:
    return error_answer(HTTPStatus.SERVICE_UNAVAILABLE, why, **{"Retry-After": str(_RETRY_S)})


def error_answer(status: int, advice: str, **headers: str) -> web.Response:
    return web.json_response({"error": advice}, status=status, headers=headers)

"""A token endpoint of OAuth 2.0 (RFC 6749), and who is known there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

from connectors.http_access import HttpAccess
from tests.unit.http_peer import Handler, http_peer

SECRET = "s3cret/of-the+client"


@dataclass
class TokenServer:
    """Gives token after token; `answer` replaces what it says, as (status, body)."""

    url: str = ""
    life_s: object = 3600
    answer: tuple[int, bytes] | None = None
    asked: list[tuple[str | None, dict[str, list[str]]]] = field(default_factory=list)

    def reply(self, handler: Handler) -> None:
        form = parse_qs(handler.rfile.read(int(handler.headers["Content-Length"])).decode())
        self.asked.append((handler.headers["Authorization"], form))
        status, body = self.answer or (200, token(f"t0ken-{len(self.asked)}", self.life_s))
        handler.answer(status, "application/json", body)


def token(value: str, life_s: object = 3600, **more: object) -> bytes:
    """RFC 6749 5.1"""
    said = {"access_token": value, "token_type": "Bearer", "expires_in": life_s} | more
    return json.dumps({name: one for name, one in said.items() if one is not None}).encode()


@contextmanager
def token_server() -> Iterator[TokenServer]:
    server = TokenServer()
    with http_peer(server.reply) as url:
        server.url = f"{url}/token"
        yield server


def client(server: TokenServer, folder: Path, scope: str | None = None) -> HttpAccess:
    (folder / "secret").write_text(f"{SECRET}\n")
    return HttpAccess(token_url=server.url, client_id="radstream", client_secret_file=folder / "secret", scope=scope)

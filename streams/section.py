"""What the sections of the settings are made of."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Peer(Section):
    """Who we speak with. Beyond loopback without TLS is refused unless a setting says so in as many words."""

    allow_plaintext_beyond_loopback: bool = False

    def _plaintext_hosts(self) -> list[str | None]:
        """Hosts that are spoken to in the clear."""
        urls = [urlsplit(value) for name, value in self if name.endswith("url") and value]
        return [url.hostname for url in urls if url.scheme != "https"]

    @model_validator(mode="after")
    def _no_plaintext_beyond_loopback(self) -> Self:
        if not self.allow_plaintext_beyond_loopback and not all(map(is_loopback, self._plaintext_hosts())):
            raise ValueError("plain text beyond loopback is refused: use TLS, or set allow_plaintext_beyond_loopback")
        return self


class WithCertificate(Peer):
    """Our own certificate. Paths are of PEM files; the certificate file may hold the chain."""

    tls_certificate: Path | None = None
    tls_key: Path | None = None

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        return self


class Door(WithCertificate):
    """A port of ours."""

    host: str = "127.0.0.1"

    def _plaintext_hosts(self) -> list[str | None]:
        return [] if self.tls_certificate else [self.host]


def is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"

"""Settings of what is told of studies from outside, and of which studies are news."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, IPvAnyNetwork, model_validator

from streams.section import Peer, Port, Seconds, Section


def _ae_title(value: str) -> str:
    """PS3.5 6.2, value representation AE; spaces at the ends mean nothing there, and are a slip here."""
    if not re.fullmatch(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?", value):
        raise ValueError("is no AE title: 1 to 16 characters of ASCII, no backslash, no space at its ends")
    return value


AETitle = Annotated[str, AfterValidator(_ae_title)]


class _Door(Peer):
    """A port of ours. Paths are of PEM files; the certificate file may hold the chain."""

    host: str = "127.0.0.1"
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def _plaintext_hosts(self) -> list[str | None]:
        return [] if self.tls_certificate else [self.host]

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        return self


class WebhookSettings(_Door):
    """Where an archive posts what happened to a study; without `token_file` there is no webhook."""

    port: Port = 8088
    token_file: Path | None = None


class DicomSettings(_Door):
    """Where Instance Availability Notifications and MPPS arrive; without `port` nowhere."""

    port: Port | None = None
    ae_title: AETitle = "RADSTREAM"
    #: whose associations are taken; empty: whoever reaches the port
    calling_ae_titles: tuple[AETitle, ...] = ()
    allowed: tuple[IPvAnyNetwork, ...] = ()
    #: a caller must show a certificate that one of these authorities signed (mutual TLS)
    tls_client_ca: Path | None = None
    associations: Annotated[int, Field(ge=1)] = 10
    #: an association without a message for so long is aborted
    idle_timeout_s: Seconds = 60.0


class NewsSettings(Section):
    """Which studies receivers are told of. One they were told of once stays news: what was said must be put right."""

    #: days from Study Date to the notice; None: any age
    age_limit_days: Annotated[int, Field(ge=0)] | None = None
    #: what becomes of older ones: analysed and told to nobody, or not at all
    older: Literal["bulk", "ignore"] = "bulk"
    #: who sent the images to the archive
    bulk_ae_titles: tuple[AETitle, ...] = ()
    ignored_ae_titles: tuple[AETitle, ...] = ()
    #: studies without an order within an hour, beyond which further ones are a flood and go to the bulk lane; None: never
    flood_per_hour: Annotated[int, Field(ge=1)] | None = None

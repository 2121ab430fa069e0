"""Settings of what is told of studies from outside, and of which studies are news."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, IPvAnyNetwork

from streams.section import Door, Port, Seconds, Section


def _ae_title(value: str) -> str:
    """PS3.5 6.2, value representation AE; spaces at the ends mean nothing there, and are a slip here."""
    if not re.fullmatch(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?", value):
        raise ValueError("is no AE title: 1 to 16 characters of ASCII, no backslash, no space at its ends")
    return value


AETitle = Annotated[str, AfterValidator(_ae_title)]


class WebhookSettings(Door):
    """Where an archive posts what happened to a study; without `token_file` there is no webhook."""

    port: Port = 8088
    token_file: Path | None = None


class DicomSettings(Door):
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

"""How HL7 peers get in: one listener is the section `mllp`, further ones are its list `listeners`."""

from __future__ import annotations

import ipaddress
from itertools import combinations
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, IPvAnyNetwork, model_validator

from connectors.mllp.codes import NEVER_ACCEPTED, Answer, Trouble
from schemas.hl7v2.site import Charset
from streams.section import Door, Port, Seconds, Section
from streams.topics import MESSAGE_LIMIT


def _nothing_lost(codes: dict[Trouble, Answer]) -> dict[Trouble, Answer]:
    for trouble in NEVER_ACCEPTED:
        if codes.get(trouble) == "accept":
            raise ValueError(f"{trouble} is never accepted: the sender would drop the only copy")
    return codes


#: which answer (MSA-1, table 0008: AA or CA, AE or CE, AR or CR) a trouble gets, where not the standard's
Codes = Annotated[dict[Trouble, Answer], AfterValidator(_nothing_lost)]


def host_and_port(address: str) -> tuple[str, int]:
    """Of "HOST:PORT" or "[IPv6]:PORT". Raises ValueError."""
    parts = urlsplit(f"//{address}")  # its port raises ValueError beyond 65535
    if not parts.hostname or not parts.port or parts.path or parts.username:
        raise ValueError("is not HOST:PORT")
    return parts.hostname, parts.port


def _address(text: str) -> str:
    host_and_port(text)
    return text


Address = Annotated[str, AfterValidator(_address)]


class PeerSettings(Section):
    """What is different for the senders at `address`; None and an empty map: as the listener says."""

    address: IPvAnyNetwork
    codes: Codes = Field(default_factory=dict)
    return_address: Address | None = None


class ListenerSettings(Door):
    """One port of ours."""

    port: Port = 2575
    #: networks whose hosts may connect; empty: whoever reaches the port
    allowed: tuple[IPvAnyNetwork, ...] = ()
    #: a client must show a certificate that one of these authorities signed (mutual TLS)
    tls_client_ca: Path | None = None
    #: table 0211, for an empty MSH-18; None: the site's
    default_charset: Charset | None = None
    #: largest message, in bytes
    size_limit: Annotated[int, Field(gt=0, le=MESSAGE_LIMIT)] = MESSAGE_LIMIT
    #: connections at a time
    connections: Annotated[int, Field(ge=1)] = 256
    #: None: never. An MLLP connection is persistent, and a sender may have nothing to say all night.
    idle_timeout_s: Seconds | None = None
    #: from the start block to the end block of one message
    frame_timeout_s: Seconds = 30.0
    #: from receipt to the answer that a message is not stored
    storing_timeout_s: Seconds = 5.0
    #: MLLP release 2: the commit acknowledgement of the block, beside those of the message
    commit_bytes: bool = False
    codes: Codes = Field(default_factory=dict)
    #: HOST:PORT that deferred application acknowledgements go to; None: the connection that the message came on
    return_address: Address | None = None
    #: authorities of the server at the return address: then TLS is spoken to it, with the listener's own certificate
    return_tls_ca: Path | None = None
    #: the first whose address fits holds
    peers: tuple[PeerSettings, ...] = ()

    @property
    def name(self) -> str:
        """HOST:PORT, as it stands in logs and in the health of the role."""
        return f"{self.host}:{self.port}"

    def _plaintext_hosts(self) -> list[str | None]:
        returned = [] if self.return_tls_ca else [self.return_address, *(peer.return_address for peer in self.peers)]
        return [*super()._plaintext_hosts(), *(host_and_port(to)[0] for to in returned if to)]

    @model_validator(mode="after")
    def _clients_are_asked_over_tls(self) -> Self:
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        return self


class MllpSettings(ListenerSettings):
    listeners: tuple[ListenerSettings, ...] = ()

    @property
    def all(self) -> tuple[ListenerSettings, ...]:
        """The first is this section itself."""
        return (self, *self.listeners)

    @model_validator(mode="after")
    def _one_port_one_listener(self) -> Self:
        for one, other in combinations(self.all, 2):
            if one.port == other.port and (one.host == other.host or _everywhere(one.host) or _everywhere(other.host)):
                raise ValueError(f"two listeners on port {one.port}: each needs one of its own")
        return self


def _everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False

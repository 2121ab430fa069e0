"""Role `listen`: MLLP in, untouched bytes onto `hl7.v2.raw`. What is no message goes, as bytes, to the dead letters."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from connectors.mllp.connection import Limits
from connectors.mllp.dialogue import Received
from connectors.mllp.door import Door
from connectors.mllp.server import MllpServer
from connectors.mllp.tls import CertificateFiles, ServerTls
from schemas.errors import Unavailable
from schemas.events import RAW_MESSAGE_TYPE
from schemas.hl7v2.site import Site
from schemas.identifiers import identity
from schemas.ports import Clock, EventLog, Headers, Outgoing
from streams.dead_letter import DEAD_LETTER_TYPE
from streams.emission import HL7_ER7, headers
from streams.health import Health
from streams.listener_settings import ListenerSettings, MllpSettings
from streams.topics import DEAD_LETTERS, HL7_RAW

log = structlog.get_logger()

_KEY_LIMIT = 1024
#: The log gives up by itself (KafkaLog.append_timeout_s); the listener's own limit is the net below it.
_NET = 1.2


def raw_message(received: Received, default_charset: str, told: Headers = ()) -> Outgoing:
    """The record of a message on `hl7.v2.raw`; the same bytes from the same sender give the same ce_id. `default_charset` is
    the listener's, `told` what else the headers say."""
    assert received.header is not None
    sender = received.header.sender_key(default_charset)[:_KEY_LIMIT]
    digest = hashlib.sha256(received.content).hexdigest()
    message_id = identity("hl7v2-message", sender, received.header.component(10, 1).strip(), digest)
    event = headers(id=str(message_id), type=RAW_MESSAGE_TYPE, time=received.received_at, cause=None, content_type=HL7_ER7)
    return Outgoing(HL7_RAW.name, sender.encode("utf-8"), received.content, (*event, ("peer", received.peer.encode()), *told))


def refused_bytes(received: Received) -> Outgoing:
    """Their dead letter. There is no record they came from, so partition and offset are not told."""
    digest = hashlib.sha256(received.content).hexdigest()
    ours = {
        "topic": "mllp",
        "step": "listen",
        "error": "MalformedMessage",
        "reason": received.fault,
        "attempts": "1",
        "peer": received.peer,
    }
    told = headers(
        id=str(identity("mllp-refused", received.peer, received.received_at.isoformat(), digest)),
        type=DEAD_LETTER_TYPE,
        time=received.received_at,
        cause=None,
        content_type="application/octet-stream",
    )
    return Outgoing(
        DEAD_LETTERS.name,
        None,
        received.content,
        (*((name, value.encode()) for name, value in ours.items()), *told),
    )


async def store(received: Sequence[Received], *, event_log: EventLog, default_charset: str, told: Headers = ()) -> None:
    """Everything a peer sent is on the log, acknowledged by all in-sync replicas, when this returns. Raises BrokerUnavailable."""
    await event_log.append([refused_bytes(one) if one.refused else raw_message(one, default_charset, told) for one in received])
    for one in received:
        if one.refused:
            log.warning("refused bytes are a dead letter", peer=one.peer, reason=str(one.fault), bytes=len(one.content))


class Wellbeing:
    """Of all listeners of the role: paused while the log is away for one of them, ready with a reason while one raises an
    alarm, ready else. The reason names the listener."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._away: dict[str, str] = {}
        self._alarms: dict[str, str] = {}

    def tell(self) -> None:
        reasons = self._away or self._alarms
        self._health.set("paused" if self._away else "ready", "; ".join(f"{name}: {why}" for name, why in reasons.items()))

    def stored(self, listener: str) -> None:
        if listener in self._away:
            del self._away[listener]
            self.tell()

    def away(self, listener: str, why: str) -> None:
        self._away[listener] = why
        self.tell()

    def alarm(self, listener: str, why: str) -> None:
        """An empty `why` ends it."""
        self._alarms.pop(listener, None)
        if why:
            self._alarms[listener] = why
        self.tell()


def listener(event_log: EventLog, clock: Clock, one: ListenerSettings, site: Site, wellbeing: Wellbeing) -> MllpServer:
    """`wellbeing` is told when the log is away and when it is back. Raises SettingsInvalid."""
    default_charset = one.default_charset or site.default_charset
    told = (("charset", default_charset.encode()),) if default_charset != site.default_charset else ()

    async def stored(received: Sequence[Received]) -> None:
        try:
            await store(received, event_log=event_log, default_charset=default_charset, told=told)
        except Unavailable as error:
            wellbeing.away(one.name, str(error))
            raise
        wellbeing.stored(one.name)

    return MllpServer(
        stored,
        clock,
        host=one.host,
        port=one.port,
        allow_plaintext_beyond_loopback=one.allow_plaintext_beyond_loopback,
        limits=Limits(
            frame=one.size_limit,
            storing_s=one.storing_timeout_s * _NET,
            frame_s=one.frame_timeout_s,
            idle_s=one.idle_timeout_s,
        ),
        door=Door(one.allowed, one.connections, _tls(one, partial(wellbeing.alarm, one.name))),
    )


def _tls(one: ListenerSettings, alarm: Callable[[str], None]) -> ServerTls | None:
    if one.tls_certificate is None or one.tls_key is None:
        return None
    return ServerTls(CertificateFiles(one.tls_certificate, one.tls_key, one.tls_client_ca), alarm)


async def listen(event_log: EventLog, clock: Clock, mllp: MllpSettings, site: Site, stop: asyncio.Event, health: Health) -> None:
    """Until `stop`: then accepts nothing more and answers what it has. Raises SettingsInvalid, and then nobody listens."""
    wellbeing = Wellbeing(health)
    servers = [listener(event_log, clock, one, site, wellbeing) for one in mllp.all]
    try:
        for one, server in zip(mllp.all, servers, strict=True):
            await server.start()
            log.info("listening", host=one.host, port=server.port, tls=bool(one.tls_certificate), mutual=bool(one.tls_client_ca))
        wellbeing.tell()
        await stop.wait()
    finally:
        await asyncio.gather(*(server.stop() for server in servers))

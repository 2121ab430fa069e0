"""Role `listen`: MLLP in, untouched bytes onto `hl7.v2.raw`. What is no message goes, as bytes, to the dead letters."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import structlog

from connectors.mllp.connection import Limits
from connectors.mllp.dialogue import Received
from connectors.mllp.server import MllpServer
from schemas.errors import Unavailable
from schemas.events import RAW_MESSAGE_TYPE
from schemas.hl7v2.site import Site
from schemas.identifiers import identity
from schemas.ports import Clock, EventLog, Outgoing
from streams.dead_letter import DEAD_LETTER_TYPE
from streams.emission import HL7_ER7, headers
from streams.health import Health
from streams.listener_settings import MllpSettings
from streams.topics import DEAD_LETTERS, HL7_RAW

log = structlog.get_logger()

_KEY_LIMIT = 1024
#: The log gives up by itself (KafkaLog.append_timeout_s); the listener's own limit is the net below it.
_NET = 1.2


def raw_message(received: Received, default_charset: str) -> Outgoing:
    """The record of a message on `hl7.v2.raw`; the same bytes from the same sender give the same ce_id."""
    assert received.header is not None
    sender = received.header.sender_key(default_charset)[:_KEY_LIMIT]
    digest = hashlib.sha256(received.content).hexdigest()
    message_id = identity("hl7v2-message", sender, received.header.component(10, 1).strip(), digest)
    told = headers(id=str(message_id), type=RAW_MESSAGE_TYPE, time=received.received_at, cause=None, content_type=HL7_ER7)
    return Outgoing(HL7_RAW.name, sender.encode("utf-8"), received.content, (*told, ("peer", received.peer.encode())))


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


async def store(received: Sequence[Received], *, event_log: EventLog, default_charset: str) -> None:
    """Everything a peer sent is on the log, acknowledged by all in-sync replicas, when this returns. Raises BrokerUnavailable."""
    await event_log.append([refused_bytes(one) if one.refused else raw_message(one, default_charset) for one in received])
    for one in received:
        if one.refused:
            log.warning("refused bytes are a dead letter", peer=one.peer, reason=str(one.fault), bytes=len(one.content))


def listener(event_log: EventLog, clock: Clock, mllp: MllpSettings, site: Site, health: Health | None = None) -> MllpServer:
    """`health` is told when the log is away and when it is back. Raises SettingsInvalid."""

    async def stored(received: Sequence[Received]) -> None:
        try:
            await store(received, event_log=event_log, default_charset=site.default_charset)
        except Unavailable as error:
            if health:
                health.set("paused", str(error))
            raise
        if health:
            health.set("ready")

    return MllpServer(
        stored,
        clock,
        host=mllp.host,
        port=mllp.port,
        allow_plaintext_beyond_loopback=mllp.allow_plaintext_beyond_loopback,
        limits=Limits(frame=mllp.size_limit, storing_s=mllp.storing_timeout_s * _NET),
    )


async def listen(event_log: EventLog, clock: Clock, mllp: MllpSettings, site: Site, stop: asyncio.Event, health: Health) -> None:
    """Until `stop`: then accepts nothing more and answers what it has. Raises SettingsInvalid."""
    server = listener(event_log, clock, mllp, site, health)
    await server.start()
    health.set("ready")
    log.info("listening", host=mllp.host, port=server.port)
    try:
        await stop.wait()
    finally:
        await server.stop()

"""Role `listen`: MLLP in, untouched bytes on the log, and then the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from uuid import uuid4

import structlog

from connectors.door import Door, within
from connectors.mllp.connection import Limits
from connectors.mllp.conversations import Conversations
from connectors.mllp.dialogue import Dialogue, Received, Terms, Write
from connectors.mllp.server import MllpServer
from connectors.tls import CertificateFiles, ServerTls
from schemas.errors import Unavailable
from schemas.hl7v2.admission import Admission
from schemas.hl7v2.site import Site
from schemas.ports import Clock, EventLog
from streams.answering import CHARSET
from streams.health import Health
from streams.intake import Intake
from streams.late_answers import LateAnswers
from streams.listener_settings import ListenerSettings, MllpSettings
from streams.tally import Tally

log = structlog.get_logger()

#: The log gives up by itself (KafkaLog.append_timeout_s); the listener's own limit is the net below it.
_NET = 1.2


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


def listener(
    event_log: EventLog,
    clock: Clock,
    one: ListenerSettings,
    site: Site,
    wellbeing: Wellbeing,
    *,
    admission: Admission | None = None,
    late: LateAnswers | None = None,
    tally: Tally | None = None,
) -> MllpServer:
    """`wellbeing` is told when the log is away and when it is back; `late` brings application answers back to its connections
    (None: they go to return addresses alone). Raises SettingsInvalid."""
    default_charset = one.default_charset or site.default_charset
    told = ((CHARSET, default_charset.encode()),) if default_charset != site.default_charset else ()
    intake = Intake(event_log, default_charset, told, tally)
    conversations = late.conversations if late else Conversations("none")

    async def stored(received: Sequence[Received]) -> None:
        if late is not None and any(got.answer_to and conversations.ours(got.answer_to) for got in received):
            late.awaited()
        try:
            await intake.store(received)
        except Unavailable as error:
            wellbeing.away(one.name, str(error))
            raise
        wellbeing.stored(one.name)

    def converse(peer: str, write: Write) -> Dialogue:
        return Dialogue(terms_with(peer.rpartition(":")[0], one, admission or Admission(), default_charset), conversations, write)

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
        converse=converse,
    )


def terms_with(host: str, one: ListenerSettings, admission: Admission, default_charset: str) -> Terms:
    """What the listener's settings say of the peer at `host`."""
    peer = next((peer for peer in one.peers if within(host, [peer.address])), None)
    return Terms(
        admission=admission,
        default_charset=default_charset,
        codes={**one.codes, **(peer.codes if peer else {})},
        commit_bytes=one.commit_bytes,
        return_address=(peer.return_address if peer else None) or one.return_address,
    )


def _tls(one: ListenerSettings, alarm: Callable[[str], None]) -> ServerTls | None:
    if one.tls_certificate is None or one.tls_key is None:
        return None
    return ServerTls(CertificateFiles(one.tls_certificate, one.tls_key, one.tls_client_ca), alarm)


async def listen(
    event_log: EventLog,
    clock: Clock,
    mllp: MllpSettings,
    site: Site,
    stop: asyncio.Event,
    health: Health,
    *,
    admission: Admission | None = None,
    tally: Tally | None = None,
) -> None:
    """Until `stop`: then accepts nothing more and answers what it has. Raises SettingsInvalid, and then nobody listens."""
    wellbeing = Wellbeing(health)
    late = LateAnswers(event_log, uuid4().hex)
    servers = [listener(event_log, clock, one, site, wellbeing, admission=admission, late=late, tally=tally) for one in mllp.all]
    try:
        for one, server in zip(mllp.all, servers, strict=True):
            await server.start()
            log.info("listening", host=one.host, port=server.port, tls=bool(one.tls_certificate), mutual=bool(one.tls_client_ca))
        wellbeing.tell()
        await asyncio.gather(*(server.run(stop) for server in servers))
    finally:
        await asyncio.gather(*(server.stop() for server in servers))
        await late.stop()

"""A port at which archives and modalities tell what happened to studies, over DICOM associations."""

from __future__ import annotations

import asyncio
import logging
import socket
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Network, IPv6Network

import structlog
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.transport import AssociationServer

from connectors.dimse import instance_availability, performed_procedure_step
from connectors.dimse.relay import Relay
from connectors.dimse.services import Refuse, Services
from connectors.door import Door
from connectors.listening import Listening
from connectors.tls import CertificateFiles, ServerTls
from schemas.case_store import Positions
from schemas.ports import Clock
from schemas.study_ports import Tell

#: the last is Verification, PS3.4 annex A
_SOP_CLASSES = (instance_availability.SOP_CLASS_UID, performed_procedure_step.SOP_CLASS_UID, "1.2.840.10008.1.1")
#: bytes: what we take of a message at a time (PS3.8 D.1), any PDU (requests for associations are the longest), and a message:
#: a hundred thousand instances, and as base64 still a dead letter
_MAXIMUM_LENGTH, _PDU_LIMIT, _MESSAGE_LIMIT = 16 * 1024, 128 * 1024, 15 * 1024 * 1024
#: seconds for an association request, and for a caller to read our answers
_REQUEST_S, _WRITING_S = 30.0, 10.0
#: at the end what is in flight gets so long
_STOP_S = 8.0

_log = structlog.get_logger()


class DicomReceiver:
    """`StudyListener`: Instance Availability Notification, Modality Performed Procedure Step, Verification.

    `refuse` gets what can never be read. `port` 0: any free one, see `port` once it is ready. `tls`: read again when the files
    change; with `client_ca` callers must show a certificate. `associations` at a time; one that says nothing for `idle_s` is
    aborted; an answer takes at most `answer_s`."""

    name = "dicom"

    def __init__(
        self,
        positions: Positions,
        refuse: Refuse,
        clock: Clock,
        *,
        default_accession_assigner: str,
        host: str = "127.0.0.1",
        port: int = 11112,
        ae_title: str = "RADSTREAM",
        calling_ae_titles: Sequence[str] = (),
        allowed: Sequence[IPv4Network | IPv6Network] = (),
        tls: CertificateFiles | None = None,
        associations: int = 10,
        idle_s: float = 60.0,
        answer_s: float = 10.0,
    ) -> None:
        self.port = port
        self._host = host
        self._allowed, self._files = allowed, tls
        self._services = partial(
            Services,
            positions,
            refuse=refuse,
            clock=clock,
            default_accession_assigner=default_accession_assigner,
            answer_s=answer_s,
        )
        self._associations = associations
        self._entity = AE(ae_title)
        for sop_class in _SOP_CLASSES:
            self._entity.add_supported_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        self._entity.require_called_aet = True
        self._entity.require_calling_aet = list(calling_ae_titles)
        self._entity.maximum_associations = associations
        self._entity.maximum_pdu_size = _MAXIMUM_LENGTH
        self._entity.acse_timeout = min(_REQUEST_S, idle_s)
        self._entity.network_timeout = self._entity.dimse_timeout = idle_s
        self._inside: set[asyncio.Protocol] = set()
        self._relays: set[Relay] = set()

    async def listen(self, tell: Tell, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """See `StudyListener.listen`."""
        _silence()
        #: those above `associations` come in to hear that there are too many (PS3.8 9.3.4)
        door = Door(self._allowed, 2 * self._associations, ServerTls(self._files) if self._files else None)
        services = self._services(tell=tell)
        listening = await Listening.bound(self.name, self._host, self.port)
        self.port = listening.port
        where = self._host, self.port
        server = self._entity.make_server(where, evt_handlers=services.handlers, server_class=_WithoutSocket)
        try:
            await listening.until(stop, door, partial(self._connection, server), lambda: self._inside, ready)
        finally:
            listening.close()
            door.close()
            await self._end(services)
            server.server_close()

    async def _end(self, services: Services) -> None:
        """Raises nothing: what is not answered in time is not answered."""
        finishing = [asyncio.create_task(relay.end()) for relay in self._relays]
        finishing.append(asyncio.create_task(services.finish()))
        _, late = await asyncio.wait(finishing, timeout=_STOP_S)
        for task in late:
            task.cancel()
        services.abort()
        for relay in list(self._relays):
            relay.abort()

    def _connection(self, server: AssociationServer) -> asyncio.Protocol:
        async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._inside.add(protocol)
            try:
                await self._associate(server, reader, writer)
            finally:
                self._inside.discard(protocol)

        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(), met)
        return protocol

    async def _associate(self, server: AssociationServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """pynetdicom's threads meet one end of a pair of sockets: who got in, and what is heard, was decided before."""
        ours, theirs = socket.socketpair()
        inside = await asyncio.open_unix_connection(sock=ours)
        limits = {"pdu_limit": _PDU_LIMIT, "message_limit": _MESSAGE_LIMIT}
        relay = Relay((reader, writer), inside, **limits, writing_s=_WRITING_S)
        self._relays.add(relay)
        peer, *_ = address = writer.get_extra_info("peername") or ("", 0)
        try:
            server.process_request(theirs, address)
            await relay.run()
        finally:
            self._relays.discard(relay)
        if relay.objection:
            _log.warning("an association is cut", source=self.name, peer=peer, reason=relay.objection)


class _WithoutSocket(AssociationServer):
    """Makes associations of sockets that it is given (`process_request`), and listens nowhere."""

    def server_bind(self) -> None: ...

    def server_activate(self) -> None: ...


def _silence() -> None:
    """pynetdicom and pydicom print data sets, and values that they find wrong."""
    _config.LOG_HANDLER_LEVEL = "none"
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module="pydicom|pynetdicom")

"""A RIS that files ORU^R01 as HL7 v2.5.1 says: by OBR-3, and within it by OBX-3 and OBX-4. It knows nothing of our code: python-hl7
reads its messages and speaks its MLLP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import hl7  # type: ignore[import-untyped]
from hl7.mllp import start_hl7_server  # type: ignore[import-untyped]

#: table 0211 as Python writes it
CODECS = {b"UNICODE UTF-8": "utf-8", b"BIG-5": "cp950"}
#: OBX-11, table 0085
DELETED = ("D", "W")
NO_RESULT = ("X",)

#: OBX-3.1, OBX-3.3, OBX-4
Key = tuple[str, str, str]


@dataclass
class Observation:
    type: str
    value: str
    status: str
    unit: str = ""
    text: str = ""


@dataclass
class Report:
    """What stands under one OBR-3."""

    obr: hl7.Segment
    patient: str
    service: str
    status: str = ""
    at: str = ""
    notes: list[str] = field(default_factory=list)
    observations: dict[Key, Observation] = field(default_factory=dict)
    #: whether it ever held a result
    once: bool = False

    def value(self, code: str, group: str = "0") -> str | None:
        """Of the OBX that stands."""
        found = [one for (held, _, place), one in self.observations.items() if (held, place) == (code, group)]
        return found[0].value if found else None

    @property
    def text(self) -> list[str]:
        lines = {int(place[1:]): one.value for (code, _, place), one in self.observations.items() if code.startswith("text")}
        return [lines[at] for at in sorted(lines)]

    def results(self) -> list[Observation]:
        return [one for one in self.observations.values() if one.status not in (*NO_RESULT, "O")]


@dataclass
class Ris:
    """`reports` by OBR-3.1; `messages` as they came."""

    reports: dict[str, Report] = field(default_factory=dict)
    messages: list[bytes] = field(default_factory=list)

    def take(self, data: bytes) -> str:
        """MSH-10"""
        message = read(data)
        self.messages.append(data)
        patient, report = "", None
        for segment in message:
            match str(segment[0]):
                case "PID":
                    patient = part(message, segment, 3)
                case "OBR":
                    report = self._filed(message, segment, patient)
                case "NTE":
                    assert report is not None
                    report.notes.append(part(message, segment, 3))
                case "OBX":
                    assert report is not None
                    self._observed(message, segment, report)
        return control_id(data)

    def _filed(self, message: hl7.Message, obr: hl7.Segment, patient: str) -> Report:
        filler, service = part(message, obr, 3), part(message, obr, 4)
        report = self.reports.setdefault(filler, Report(obr, patient, service))
        assert report.service == service
        report.obr, report.patient, report.notes = obr, patient, []
        report.status, report.at = part(message, obr, 25), part(message, obr, 22)
        return report

    def _observed(self, message: hl7.Message, obx: hl7.Segment, report: Report) -> None:
        key = part(message, obx, 3), part(message, obx, 3, 3), part(message, obx, 4)
        status = part(message, obx, 11)
        assert status in ("R", "P", "C", "O", *NO_RESULT, *DELETED)
        if status in DELETED:
            assert not str(obx[5])
            report.observations.pop(key, None)
            return
        value, text = part(message, obx, 5), part(message, obx, 5, 2)
        report.observations[key] = Observation(part(message, obx, 2), value, status, part(message, obx, 6), text)
        report.once = report.once or status not in (*NO_RESULT, "O")


def read(data: bytes) -> hl7.Message:
    """Decoded before it is split, as the standard wants: in Big5, MSH-4 may hold a byte like the separator."""
    header = data.split(b"\r", 1)[0]
    (codec,) = (codec for charset, codec in CODECS.items() if header.endswith(b"|" + charset))
    return hl7.parse(data.decode(codec))


def part(message: Any, segment: Any, number: int, component: int = 1) -> str:
    """A component, unescaped."""
    if number >= len(segment):
        return ""
    parts = str(segment[number]).split("^")
    return str(message.unescape(parts[component - 1])) if component <= len(parts) else ""


def control_id(data: bytes) -> str:
    message = read(data)
    return part(message, message.segment("MSH"), 10)


Answer = Callable[[Ris, bytes], Awaitable[bytes | None]]


async def accept(ris: Ris, data: bytes) -> bytes | None:
    return acknowledgement("AA", ris.take(data))


def acknowledgement(code: str, control_id: str) -> bytes:
    return f"MSH|^~\\&|RIS|H|radstream||20260101||ACK^R01^ACK|X|P|2.5.1\rMSA|{code}|{control_id}\r".encode()


class RisServer:
    """The RIS behind MLLP. `answer`: what it does with a message; None closes the connection without a word."""

    def __init__(self, answer: Answer = accept) -> None:
        self.ris = Ris()
        self.answer = answer
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[Any] = set()

    async def start(self) -> None:
        self._server = await start_hl7_server(self._serve, host="127.0.0.1", port=self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0)
        await self._server.wait_closed()

    async def _serve(self, reader: Any, writer: Any) -> None:
        self._open.add(writer)
        try:
            while not reader.at_eof():
                data = await reader.readblock()
                answer = await self.answer(self.ris, data)
                if answer is None:
                    break
                writer.writeblock(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


@asynccontextmanager
async def ris_server(answer: Answer = accept) -> AsyncIterator[RisServer]:
    server = RisServer(answer)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()

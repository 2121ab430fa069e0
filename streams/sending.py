"""The messages of files, over MLLP, each with its answer: what `radstream send` does and counts."""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from connectors.mllp.client import MllpClient, MllpReceiverUnavailable
from schemas.errors import MalformedMessage, SettingsInvalid
from schemas.hl7v2.acknowledgement import Ack
from schemas.hl7v2.files import pieces_of
from schemas.hl7v2.header import Header
from schemas.hl7v2.message import Message, header_line

#: so many messages in a row without an answer end it: the receiver is gone
_GONE = 20
#: troubles that are kept one by one
LISTED = 1000
_LOCATION = re.compile(r"[A-Z][A-Z0-9]{2}(\^\d*)*")


@dataclass(frozen=True, slots=True)
class Letter:
    """One message of a file; `line`: where it begins, from 1."""

    file: str
    line: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Trouble:
    """A message that was not sent, not answered or not accepted, and why: in words that hold no patient data."""

    file: str
    line: int
    message_control_id: str
    what: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`rate`: messages a second over all connections, None: as fast as answers come. `window`: messages unanswered at a time
    on each connection. `retries`: how often AE, CE or silence is answered by sending again."""

    host: str
    port: int
    rate: float | None = None
    repeat: int = 1
    connections: int = 1
    window: int = 16
    retries: int = 5
    timeout_s: float = 10.0
    tls: ssl.SSLContext | None = None
    allow_plaintext_beyond_loopback: bool = False
    new_control_ids: bool = False


@dataclass
class Tally:
    """Of one run. Latencies in seconds, to the last answer of each message; with a rate from the moment when it should have
    been sent, so that a receiver that falls behind does not look fast."""

    messages: int
    answers: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    sent_again: int = 0
    seconds: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    troubles: list[Trouble] = field(default_factory=list)
    troubled: int = 0

    @property
    def done(self) -> int:
        return self.answers.total() + self.unanswered

    @property
    def well(self) -> bool:
        """Every message there was has been accepted."""
        return self.troubled == 0 and self.done == self.messages

    def trouble(self, letter: Letter, what: str) -> None:
        self.troubled += 1
        if len(self.troubles) < LISTED:
            self.troubles.append(Trouble(letter.file, letter.line, control_id_of(letter.content), what))

    def as_dict(self) -> dict[str, Any]:
        p50, p99 = (_milliseconds(self.latencies, share) for share in (0.5, 0.99))
        return {
            "messages": self.messages,
            "answers": dict(sorted(self.answers.items())),
            "unanswered": self.unanswered,
            "not_sent": self.messages - self.done,
            "sent_again": self.sent_again,
            "seconds": round(self.seconds, 3),
            "messages_per_s": round(self.done / self.seconds, 1) if self.seconds else 0.0,
            "p50_ms": p50,
            "p99_ms": p99,
            "troubles": [asdict(trouble) for trouble in self.troubles],
        }


def letters_of(files: Sequence[Path]) -> tuple[list[Letter], list[Letter]]:
    """The messages in the order of the files ("-": standard input), and what lies between them and is none. Raises
    SettingsInvalid for a file that cannot be read."""
    letters: list[Letter] = []
    others: list[Letter] = []
    for file in files:
        try:
            data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        except OSError as error:
            raise SettingsInvalid("send", str(file), f"cannot be read: {error.strerror}") from None
        for piece in pieces_of(data):
            (letters if piece.is_message else others).append(Letter(str(file), piece.line, piece.content))
    return letters, others


def control_id_of(message: bytes) -> str:
    """MSH-10, printable; "" where absent or unreadable."""
    try:
        found = Header.read(message).field(10).strip()
    except MalformedMessage:
        return ""
    return "".join(letter if letter.isprintable() else "?" for letter in found)


def with_control_id(message: bytes, control_id: str) -> bytes:
    """The same message with another MSH-10. Raises MalformedMessage."""
    line, header = header_line(message), Header.read(message)
    at = message.index(line)
    name, separator, *fields = header.fields
    fields += [""] * (9 - len(fields))
    fields[8] = control_id  # they begin with MSH-2
    return message[:at] + separator.join((name, *fields)).encode("latin-1") + message[at + len(line) :]


async def send(letters: Sequence[Letter], plan: Plan, tally: Tally, stop: asyncio.Event) -> None:
    """Fills `tally` until all are sent and answered, `stop` is set, or the receiver is gone. On one connection the messages
    go out in their order; one that is sent again comes behind others unless the window is 1.

    Raises MllpReceiverUnavailable when there is no receiver to begin with, SettingsInvalid (plain text beyond loopback)."""
    loop = asyncio.get_running_loop()
    in_a_row = 0
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                MllpClient(
                    plan.host,
                    plan.port,
                    timeout_s=plan.timeout_s,
                    window=plan.window,
                    tls=plan.tls,
                    allow_plaintext_beyond_loopback=plan.allow_plaintext_beyond_loopback,
                )
            )
            for _ in range(plan.connections)
        ]
        await asyncio.gather(*(client.connect() for client in clients))
        source = _numbered(letters, plan)
        start = loop.time()

        async def work(client: MllpClient) -> None:
            nonlocal in_a_row
            for number, letter in source:
                begun = loop.time()
                if plan.rate:
                    begun = start + number / plan.rate
                    with suppress(TimeoutError):
                        async with asyncio.timeout_at(begun):
                            await stop.wait()
                if stop.is_set() or in_a_row >= _GONE:
                    return
                try:
                    ack = await client.deliver(letter.content, attempts=plan.retries + 1)
                except MllpReceiverUnavailable as error:
                    in_a_row += 1
                    tally.unanswered += 1
                    tally.trouble(letter, f"no answer: {error.reason}")
                except MalformedMessage as error:
                    tally.trouble(letter, f"not sent: {error.reference}: {error.reason}")
                else:
                    in_a_row = 0
                    tally.latencies.append(loop.time() - begun)
                    tally.answers[ack.code] += 1
                    if not ack.accepted:
                        tally.trouble(letter, _said(ack))

        try:
            await asyncio.gather(*(work(client) for client in clients for _ in range(plan.window)))
        finally:
            tally.seconds = loop.time() - start
            tally.sent_again = sum(client.resent for client in clients)


def _numbered(letters: Sequence[Letter], plan: Plan) -> Iterator[tuple[int, Letter]]:
    """Shared by all who send. A new control id has at most 20 characters (MSH-10 before 2.7) and was never used before."""
    run, number = f"{time.time_ns() // 1_000_000:X}", count()
    for _ in range(plan.repeat):
        for letter in letters:
            now = next(number)
            yield now, _renumbered(letter, f"{run}-{now}") if plan.new_control_ids else letter


def _renumbered(letter: Letter, control_id: str) -> Letter:
    try:
        return Letter(letter.file, letter.line, with_control_id(letter.content, control_id))
    except MalformedMessage:
        return letter  # it is not sent, and that is told


def _said(ack: Ack) -> str:
    """Code, condition (table 0357) and place of a refusal; the receiver's free text may quote the patient."""
    said = f"{ack.code}, condition {ack.condition}" if ack.condition.isalnum() else ack.code
    try:
        error = Message.parse(ack.content, "8859/1").first("ERR")
    except MalformedMessage:
        return said
    place = error.field(2) if error else ""
    return f"{said} at {place.strip('^').replace('^', '-')}" if _LOCATION.fullmatch(place) else said


def _milliseconds(latencies: array[float], share: float) -> float | None:
    if not latencies:
        return None
    ordered = sorted(latencies)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 2)

"""A receiver of ORU^R01 over MLLP: a RIS, or an interface engine before it. The port ReportingSystem.

A message is told again until it is acknowledged, which only an MSA with its own MSH-10 does. When one is not, nobody can ask the
receiver why; but what it took last can be sent once more, which changes nothing there: if that is acknowledged, the trouble is
that of the other message alone. It goes under another MSH-10: by its own a receiver may know a repetition, and not look at it.
Never is it a message of a study of which more was told since, or is being told: it could restore what is withdrawn."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Protocol

import structlog

from schemas.errors import ItemNotServed, ReceiverUnavailable, ResourceRefused, Unavailable
from schemas.findings import Findings
from schemas.hl7v2.acknowledgement import Ack, AcknowledgementCode
from schemas.hl7v2.header import Header
from schemas.ports import Acknowledgement
from schemas.renderings.hl7oru import oru_messages
from schemas.renderings.hl7orusegments import once_more
from schemas.renderings.hl7oruterms import OruTerms

_STEP = "oru"
_REJECTED = frozenset({AcknowledgementCode.REJECT, AcknowledgementCode.COMMIT_REJECT})
#: table 0357: any other text in ERR-3 may quote what was sent
_CONDITION = re.compile(r"[0-9]{3}\Z")
#: So often an item is told, with the receiver there, before it is put aside: a pause lies between, in which a receiver recovers
_TRIES = 3
#: where it took nothing that could be sent once more: so many are put aside, or refused, then it is the receiver that takes nothing
_MOST_ASIDE = 5
#: of what is only remembered to know it again
_MOST_KEPT = 1000
_log = structlog.get_logger()

_Item = tuple[str, str, int]


class Sender(Protocol):
    """As connectors.mllp.client.MllpClient."""

    async def deliver(self, message: bytes, *, attempts: int = ..., wait_s: float = ...) -> Ack: ...

    async def connect(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Taken:
    """The last message that was acknowledged, and at what time of the event loop."""

    study: str
    service: str
    message: bytes
    at: float


class OruReceiver:
    """`client` is closed with it. AE, CE and no answer are tried up to `attempts` times in one telling, from `wait_s` seconds
    apart. What was taken longer than `fresh_s` seconds ago is not sent once more: another process may have told the study more
    since."""

    def __init__(self, client: Sender, terms: OruTerms, *, attempts: int = 3, wait_s: float = 0.5, fresh_s: float = 600.0) -> None:
        self._client = client
        self._terms = terms
        self._attempts = attempts
        self._wait_s = wait_s
        self._fresh_s = fresh_s
        #: one telling at a time, with all that is asked because of it
        self._turn = asyncio.Lock()
        self._taken: _Taken | None = None
        #: MSH-10 of what was acknowledged
        self._had: dict[str, None] = {}
        #: tellings that failed though the receiver was there
        self._failed: dict[_Item, int] = {}
        self._aside: set[_Item] = set()
        self._asked = 0
        self._refuses_all = False

    async def tell(self, findings: Findings, held: Findings | None) -> Acknowledgement:
        """See ReportingSystem.tell. The reference is the MSH-10 of the (last) message."""
        subject = findings.subject
        item = (subject.study_instance_uid, findings.service, subject.sequence)
        # 5 ms of computing for each OBX
        *before, message = await asyncio.to_thread(oru_messages, findings, held, self._terms)
        async with self._turn:
            if self._taken is not None and (self._taken.study, self._taken.service) == item[:2]:
                self._taken = None  # from now on it may be wrong
            refused: ResourceRefused | ItemNotServed | None = None
            for one in before:
                try:
                    await self._accepted(one, item)
                except (ResourceRefused, ItemNotServed) as error:
                    refused = error
                    (message,) = await asyncio.to_thread(oru_messages, findings, held, self._terms, left_standing=True)
            await self._accepted(message, item)
            if isinstance(refused, ItemNotServed):
                raise refused
            if refused is not None:
                told = "an ORU receiver does not let go what it was told of another patient or order: a person must look after it"
                _log.error(told, study=item[0], error=refused.reason, alarm=True)
            self._failed.pop(item, None)
            self._taken = _Taken(item[0], item[1], message, _now())
        return Acknowledgement(f"MSH-10 {_control_id(message)}")

    async def probe(self) -> None:
        """Connects, and sends nothing: MLLP has no question that leaves no trace. See ReportingSystem.probe."""
        try:
            await self._client.connect()
        except Unavailable as error:
            raise ReceiverUnavailable(_STEP, error.reference, error.reason) from None

    async def close(self) -> None:
        await self._client.close()

    async def _accepted(self, message: bytes, item: _Item) -> None:
        """Raises as `tell`."""
        ack, trouble = await self._told(message)
        if ack is not None and not ack.accepted:
            if _control_id(message) in self._had:  # it refuses repetitions
                return
            # perhaps it has it too, and the answer was lost
            again, _ = await self._told(once_more(message, "refused"))
            ack = again if again is not None and again.accepted else ack
        if ack is not None and ack.accepted:
            self._note_taken(message)
            return
        reference = f"study {item[0]}"
        if ack is not None and ack.code in _REJECTED:
            if fault := await self._fault(item):
                self._alarm(f"{trouble}, and {fault}")
                raise ReceiverUnavailable(_STEP, reference, f"{trouble}, and {fault}")
            raise ResourceRefused(_STEP, reference, f"{trouble}: see its answer", ack.content)
        await self.probe()
        if len(self._failed) >= _MOST_KEPT:
            self._failed.clear()
        tries = self._failed[item] = self._failed.get(item, 0) + 1
        if tries < _TRIES:
            raise ReceiverUnavailable(_STEP, reference, f"{trouble} ({tries} of {_TRIES} tries)")
        if fault := await self._fault(item):
            raise ReceiverUnavailable(_STEP, reference, f"{trouble}, and {fault}")
        raise ItemNotServed(_STEP, reference, f"{trouble}, though the receiver is well")

    async def _told(self, message: bytes) -> tuple[Ack | None, str]:
        """The answer, if there was one, and what is wrong with it in our own words."""
        try:
            ack = await self._client.deliver(message, attempts=self._attempts, wait_s=self._wait_s)
        except Unavailable as error:
            return None, error.reason
        # what a receiver writes into MSA-1 and ERR-3 is its own; only what the tables hold is repeated
        code = ack.code if ack.code in list(AcknowledgementCode) else "an unknown code"
        condition = f", condition {ack.condition}" if _CONDITION.match(ack.condition) else ""
        return ack, f"answered with {code}{condition}"

    async def _fault(self, item: _Item) -> str | None:
        """What is wrong with the receiver itself; None when it is this item alone, which may be put aside."""
        taken = self._taken
        if taken is not None and _now() - taken.at < self._fresh_s:
            self._asked += 1
            ack, trouble = await self._told(once_more(taken.message, f"{item} {self._asked}"))
            return None if ack is not None and ack.accepted else f"takes others no more ({trouble})"
        if item not in self._aside and len(self._aside) >= _MOST_ASIDE:
            return f"took none of the last {_MOST_ASIDE + 1}"
        self._aside.add(item)
        return None

    def _note_taken(self, message: bytes) -> None:
        if len(self._had) >= _MOST_KEPT:
            del self._had[next(iter(self._had))]
        self._had[_control_id(message)] = None
        self._aside.clear()
        if self._refuses_all:
            self._refuses_all = False
            _log.info("the receiver of ORU messages takes them again")

    def _alarm(self, refusal: str) -> None:
        """At the first refusal of everything."""
        if not self._refuses_all:
            self._refuses_all = True
            _log.error("a receiver of ORU messages refuses everything: a person must act", error=refusal, alarm=True)


def _control_id(message: bytes) -> str:
    return Header.read(message).field(10)


def _now() -> float:
    """In seconds, of nobody's clock."""
    return asyncio.get_running_loop().time()

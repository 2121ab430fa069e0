"""Receivers of ORU messages with their faults, over real sockets to python-hl7."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from connectors.mllp.client import MllpClient
from connectors.reporting.hl7oru import OruReceiver
from schemas.errors import ReceiverUnavailable
from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import PatientIdentifier, StudyInstanceUID
from schemas.renderings.hl7oruterms import OruTerms
from schemas.reporting import ReportingSystem
from tests.contract.example_findings import not_analysed, subject
from tests.contract.oru_ris import Answer, Ris, RisServer, accept, acknowledgement, control_id, ris_server

UIDS = [StudyInstanceUID(f"1.2.826.0.1.3680043.10.511.7.{n}") for n in range(1, 10)]


@asynccontextmanager
async def receiving(
    answer: Answer = accept, *, attempts: int = 1, timeout_s: float = 10, fresh_s: float = 600
) -> AsyncIterator[tuple[RisServer, OruReceiver]]:
    async with ris_server(answer) as server:
        client = MllpClient("127.0.0.1", server.port, timeout_s=timeout_s)
        receiver = OruReceiver(client, OruTerms(), attempts=attempts, wait_s=0.01, fresh_s=fresh_s)
        yield server, receiver
        await receiver.close()


async def never(ris: Ris, data: bytes) -> bytes | None:
    await asyncio.Event().wait()
    return None


async def close(ris: Ris, data: bytes) -> bytes | None:
    return None


async def another(ris: Ris, data: bytes) -> bytes | None:
    return acknowledgement("AA", "ANOTHER")


async def garbage(ris: Ris, data: bytes) -> bytes | None:
    return b"what is this"


def coded(code: str) -> Answer:
    async def answer(ris: Ris, data: bytes) -> bytes | None:
        return acknowledgement(code, control_id(data))

    return answer


async def taken_and_closed(ris: Ris, data: bytes) -> bytes | None:
    """The answer is lost, the message is not."""
    ris.take(data)
    return None


FAULTS: dict[str, Answer] = {
    "AE": coded("AE"),
    "CE": coded("CE"),
    "unknown code": coded("??"),
    "closes": close,
    "closes when it has it": taken_and_closed,
    "hangs": never,
    "acknowledges another message": another,
    "garbage": garbage,
}


def of_studies(*uids: StudyInstanceUID, but: Answer) -> Answer:
    """`but` for these studies, all others are taken."""

    async def answer(ris: Ris, data: bytes) -> bytes | None:
        return await (but if any(f"|{uid}|".encode() in data for uid in uids) else accept)(ris, data)

    return answer


def patience(fault: str) -> float:
    """Where no answer comes, it is not awaited for long; then even an answer may come too late, which changes no outcome."""
    return 0.3 if fault in ("hangs", "acknowledges another message", "garbage") else 10


async def told(system: ReportingSystem, state: Findings, held: Findings | None = None) -> None:
    """As the guard does it: a pause, and again. Raises what is no pause."""
    for _ in range(50):
        with suppress(ReceiverUnavailable):
            await system.tell(state, held)
            return
    raise AssertionError("never taken")


def of_patient(value: str, but: Answer) -> Answer:
    async def answer(ris: Ris, data: bytes) -> bytes | None:
        return await (but if f"|{value}^".encode() in data else accept)(ris, data)

    return answer


def refusing_repetitions(code: str) -> Answer:
    """By their MSH-10."""

    async def answer(ris: Ris, data: bytes) -> bytes | None:
        known = {control_id(one) for one in ris.messages}
        id = ris.take(data)
        return acknowledgement(code if id in known else "AA", id)

    return answer


ELSEWHERE = PatientIdentifier(value="MRN-4712", assigner="HOSPITAL")
RECALLED = not_analysed(NotAnalysedReason.MODEL_RECALLED, subject(6))


def at_patient(state: Findings, patient: PatientIdentifier | None = ELSEWHERE) -> Findings:
    return state.model_copy(update={"subject": state.subject.model_copy(update={"patient": patient})})

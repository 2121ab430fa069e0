"""A receiver of ORU messages that answers AE, closes, hangs, or acknowledges another message, over real sockets to python-hl7:
afterwards it holds everything once, in its last state; and one item that it cannot take does not hold up the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from connectors.mllp.client import MllpClient
from connectors.reporting.hl7oru import OruReceiver
from schemas.errors import InvalidResource, ItemNotServed, ReceiverUnavailable, ResourceRefused
from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import PatientIdentifier, StudyInstanceUID
from schemas.renderings.hl7oru import oru_messages
from schemas.renderings.hl7oruterms import OruTerms
from schemas.reporting import ReportingSystem
from tests.contract.example_findings import finding, findings, not_analysed, order, subject
from tests.contract.oru_ris import Answer, Ris, RisServer, accept, acknowledgement, part, read, ris_server

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


def control_id(data: bytes) -> str:
    message = read(data)
    return part(message, message.segment("MSH"), 10)


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


@pytest.mark.parametrize("fault", FAULTS)
async def test_after_any_fault_everything_is_held_once_in_its_last_state(fault: str) -> None:
    """Each message meets the fault the first time it comes."""
    seen: set[str] = set()

    async def first_time(ris: Ris, data: bytes) -> bytes | None:
        id = control_id(data)
        answer = accept if id in seen else FAULTS[fault]
        seen.add(id)
        return await answer(ris, data)

    states = (
        findings(subject(4), finding(1)),
        not_analysed(NotAnalysedReason.ORDER_CANCELLED, subject(8)),
        findings(subject(12)),
    )
    async with receiving(first_time, timeout_s=patience(fault)) as (server, receiver):
        for state, held in zip(states, (None, *states), strict=False):
            await told(receiver, state, held)
    (report,) = server.ris.reports.values()
    assert report.value("nodule-or-mass-of-lung") == "2667000"  # absent
    assert "finding" not in {code for code, _, _ in report.observations}
    assert {one.status for one in report.observations.values()} == {"R", "O"}
    assert report.status == "R"


async def test_ae_is_told_again_within_one_telling() -> None:
    codes = ["AE", "CE", "AA"]

    async def answer(ris: Ris, data: bytes) -> bytes | None:
        ris.take(data)
        return acknowledgement(codes.pop(0), control_id(data))

    async with receiving(answer, attempts=3) as (server, receiver):
        answered = await receiver.tell(findings(), None)
    assert len(server.ris.messages) == 3
    assert len(set(server.ris.messages)) == 1
    assert answered.reference == f"MSH-10 {control_id(server.ris.messages[0])}"


@pytest.mark.parametrize("fault", FAULTS)
async def test_one_item_that_always_fails_is_put_aside_and_the_others_go_on(fault: str) -> None:
    poison, *others = (findings(subject(4, study=uid)) for uid in UIDS[:3])
    async with receiving(of_studies(UIDS[0], but=FAULTS[fault]), timeout_s=patience(fault)) as (server, receiver):
        await told(receiver, others[0])
        for _ in range(2):
            with pytest.raises(ReceiverUnavailable):
                await receiver.tell(poison, None)
        with pytest.raises(ItemNotServed, match="though the receiver is well"):
            await told(receiver, poison)
        await told(receiver, others[1])
        with pytest.raises(ItemNotServed):
            await told(receiver, poison)
        server.answer = accept
        await told(receiver, poison)
    assert len(server.ris.reports) == 3


@pytest.mark.parametrize("fault", ["AE", "closes", "hangs", "AR"])
async def test_a_receiver_that_takes_nothing_any_more_holds_up_everything_and_refuses_nothing(fault: str) -> None:
    """Also what was put aside before: else a night's backlog would be a heap of dead letters."""
    async with receiving(timeout_s=patience(fault)) as (server, receiver):
        await told(receiver, findings(subject(4, study=UIDS[0])))
        server.answer = coded("AR") if fault == "AR" else FAULTS[fault]
        with capture_logs() as lines:
            for uid in UIDS[1:3]:
                for _ in range(4):
                    with pytest.raises(ReceiverUnavailable) as raised:
                        await receiver.tell(findings(subject(4, study=uid)), None)
            assert "takes others no more" in str(raised.value)
            server.answer = accept
            await told(receiver, findings(subject(4, study=UIDS[1])))
    assert [line["log_level"] for line in lines] == (["error", "info"] if fault == "AR" else [])


async def refuse_repetitions(ris: Ris, data: bytes) -> bytes | None:
    """By their MSH-10."""
    known = {control_id(one) for one in ris.messages}
    ris.take(data)
    return acknowledgement("AR" if control_id(data) in known else "AA", control_id(data))


async def test_a_receiver_that_refuses_repetitions_and_whose_answer_was_lost() -> None:
    async with receiving(taken_and_closed) as (server, receiver):
        with pytest.raises(ReceiverUnavailable):
            await receiver.tell(findings(), None)
        server.answer = refuse_repetitions
        await receiver.tell(findings(), None)
        await receiver.tell(findings(), None)
    assert len(server.ris.reports) == 1


async def test_a_receiver_that_refuses_repetitions_is_not_taken_for_one_that_takes_nothing() -> None:
    poison = of_studies(UIDS[0], but=FAULTS["closes"])

    async def answer(ris: Ris, data: bytes) -> bytes | None:
        return None if await poison(Ris(), data) is None else await refuse_repetitions(ris, data)

    async with receiving(answer) as (_, receiver):
        await receiver.tell(findings(subject(4, study=UIDS[1])), None)
        for _ in range(2):
            with pytest.raises(ReceiverUnavailable):
                await receiver.tell(findings(subject(4, study=UIDS[0])), None)
        for _ in range(2):
            with pytest.raises(ItemNotServed):
                await receiver.tell(findings(subject(4, study=UIDS[0])), None)


async def test_a_refusal_is_one_of_the_message_and_its_answer_is_kept_and_not_told() -> None:
    quoted = b"MSH|^~\\&|RIS|H|radstream||2026||ACK|X|P|2.5.1\rMSA|AR|%b\rERR||PID^1^3|MRN-4711 is unknown|E\r"

    async def answer(ris: Ris, data: bytes) -> bytes | None:
        return quoted % control_id(data).encode()

    async with receiving(of_studies(UIDS[0], but=answer)) as (_, receiver):
        await receiver.tell(findings(subject(4, study=UIDS[1])), None)
        with pytest.raises(ResourceRefused) as raised:
            await receiver.tell(findings(subject(4, study=UIDS[0])), None)
    assert "MRN" not in str(raised.value)
    assert b"MRN-4711" in raised.value.operation_outcome


@pytest.mark.parametrize(("code", "error"), [("AR", ResourceRefused), ("AE", ItemNotServed)])
async def test_of_a_receiver_that_never_took_anything_a_few_items_are_put_aside(code: str, error: type[Exception]) -> None:
    """Whether the items or the receiver are wrong nobody can tell: five at most are put aside."""
    async with receiving(coded(code)) as (server, receiver):
        outcomes = []
        for uid in UIDS[:7]:
            for _ in range(2 if code == "AE" else 0):
                with pytest.raises(ReceiverUnavailable):
                    await receiver.tell(findings(subject(4, study=uid)), None)
            with pytest.raises((error, ReceiverUnavailable)) as raised:
                await receiver.tell(findings(subject(4, study=uid)), None)
            outcomes.append(raised.type)
        assert outcomes == [error] * 5 + [ReceiverUnavailable] * 2
        server.answer = accept
        await receiver.tell(findings(subject(4, study=UIDS[8])), None)
        server.answer = of_studies(UIDS[5], but=coded(code))
        with pytest.raises(error):
            await receiver.tell(findings(subject(4, study=UIDS[5])), None)


async def test_a_receiver_that_is_down_uses_up_no_tries() -> None:
    async with receiving() as (server, receiver):
        await server.stop()
        for _ in range(5):
            with pytest.raises(ReceiverUnavailable):
                await receiver.tell(findings(), None)
        with pytest.raises(ReceiverUnavailable):
            await receiver.probe()
        server.answer = FAULTS["AE"]
        await server.start()
        with pytest.raises(ReceiverUnavailable, match="1 of 3"):
            await receiver.tell(findings(), None)


ELSEWHERE = PatientIdentifier(value="MRN-4712", assigner="HOSPITAL")
RECALLED = not_analysed(NotAnalysedReason.MODEL_RECALLED, subject(6))


def at_patient(state: Findings, patient: PatientIdentifier | None = ELSEWHERE) -> Findings:
    return state.model_copy(update={"subject": state.subject.model_copy(update={"patient": patient})})


def of_patient(value: str, but: Answer) -> Answer:
    async def answer(ris: Ris, data: bytes) -> bytes | None:
        return await (but if f"|{value}^".encode() in data else accept)(ris, data)

    return answer


async def test_what_a_study_said_before_is_not_sent_again_behind_what_it_says_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another study is refused while the recall waits: what was taken last, and would be sent once more, is what is recalled."""
    asked, go_on, rendered = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def rendering(now: Findings, *others: Any, **more: Any) -> tuple[bytes, ...]:
        if now is RECALLED:
            loop.call_soon_threadsafe(rendered.set)
        return oru_messages(now, *others, **more)

    monkeypatch.setattr("connectors.reporting.hl7oru.oru_messages", rendering)

    refused = []

    async def slowly_refuse(ris: Ris, data: bytes) -> bytes | None:
        refused.append(data)
        if len(refused) == 2:  # under another MSH-10, before anything else is asked
            asked.set()
            await go_on.wait()
        return acknowledgement("AR", control_id(data))

    poison = findings(subject(4, study=UIDS[0]))
    async with receiving() as (server, receiver):
        await receiver.tell(findings(subject(4), finding(1)), None)
        server.answer = of_studies(UIDS[0], but=slowly_refuse)
        other = asyncio.create_task(receiver.tell(poison, None))
        await asked.wait()
        recall = asyncio.create_task(receiver.tell(RECALLED, findings(subject(4), finding(1))))
        await rendered.wait()
        await asyncio.wait([recall], timeout=0.3)  # it waits for its turn, by whatever means
        go_on.set()
        with pytest.raises(ResourceRefused):
            await other
        await recall
    (report,) = server.ris.reports.values()
    assert not report.results()


async def test_what_a_study_said_before_is_not_sent_again_when_an_answer_is_lost() -> None:
    async with receiving() as (server, receiver):
        await receiver.tell(findings(subject(4), finding(1)), None)
        server.answer = taken_and_closed
        outcomes = []
        for _ in range(4):
            with pytest.raises((ReceiverUnavailable, ItemNotServed)) as raised:
                await receiver.tell(RECALLED, findings(subject(4), finding(1)))
            outcomes.append(raised.type)
        server.answer = of_studies(UIDS[0], but=coded("AR"))
        with pytest.raises(ResourceRefused):
            await receiver.tell(findings(subject(4, study=UIDS[0])), None)
    (report,) = server.ris.reports.values()
    assert not report.results()
    assert outcomes == [ReceiverUnavailable] * 2 + [ItemNotServed] * 2


async def test_what_was_taken_long_ago_is_not_sent_again() -> None:
    """Another process may have told a later state of that study."""
    async with receiving(fresh_s=0) as (server, receiver):
        await receiver.tell(findings(), None)
        server.answer = of_studies(UIDS[0], but=coded("AR"))
        with pytest.raises(ResourceRefused):
            await receiver.tell(findings(subject(4, study=UIDS[0])), None)
    assert len(server.ris.messages) == 1


async def test_after_a_merge_the_patient_that_remains_is_told_and_a_person_hears_of_the_other() -> None:
    """A receiver that files by OBR-3 alone, and knows the merged patient no more."""
    before = findings(subject(4), finding(1))
    async with receiving() as (server, receiver):
        await receiver.tell(before, None)
        server.answer = of_patient("MRN-4711", but=coded("AR"))
        with capture_logs() as lines:
            await receiver.tell(at_patient(RECALLED), before)
    (report,) = server.ris.reports.values()
    assert report.patient == "MRN-4712"
    assert not report.results()
    assert [(line["log_level"], line["alarm"]) for line in lines] == [("error", True)]
    assert "MRN" not in str(lines)


async def test_an_order_that_the_receiver_knows_no_more_leaves_nothing_standing_under_the_other() -> None:
    before, recalled = (
        state.model_copy(update={"subject": state.subject.model_copy(update={"orders": orders})})
        for state, orders in ((findings(subject(4), finding(1)), (order(1), order(2))), (RECALLED, (order(1),)))
    )

    async def unknown(ris: Ris, data: bytes) -> bytes | None:
        return await (coded("AR") if b"|P2^HIS|" in data else accept)(ris, data)

    async with receiving() as (server, receiver):
        await receiver.tell(before, None)
        server.answer = unknown
        await receiver.tell(recalled, before)
    standing = {str(one.obr[2]).split("^")[0]: bool(one.results()) for one in server.ris.reports.values()}
    assert standing == {"P1": False, "P2": True}


async def test_a_patient_at_whom_nothing_can_be_withdrawn_yet_is_tried_again_and_the_other_is_told() -> None:
    before, now = findings(subject(4), finding(1)), at_patient(RECALLED)
    async with receiving() as (server, receiver):
        await receiver.tell(before, None)
        server.answer = of_patient("MRN-4711", but=coded("AE"))
        with pytest.raises(ItemNotServed):
            await told(receiver, now, before)
        assert [report.patient for report in server.ris.reports.values()] == ["MRN-4712"]
        server.answer = accept
        await receiver.tell(now, before)
    assert [one.patient for one in server.ris.reports.values()] == ["MRN-4712"]


@pytest.mark.parametrize("fault", ["AE", "closes"])
async def test_the_second_message_of_a_telling_that_always_fails_is_put_aside_too(fault: str) -> None:
    """That the first was taken says nothing of it."""
    before = findings(subject(4), finding(1))
    async with receiving() as (server, receiver):
        await receiver.tell(before, None)
        server.answer = of_patient("MRN-4712", but=FAULTS[fault])
        for _ in range(2):
            with pytest.raises(ReceiverUnavailable):
                await receiver.tell(at_patient(RECALLED), before)
        with pytest.raises(ItemNotServed):
            await receiver.tell(at_patient(RECALLED), before)


@pytest.mark.parametrize(("code", "error"), [("AR", ResourceRefused), ("AE", ItemNotServed)])
async def test_however_many_in_a_row_it_cannot_take_while_it_takes_others_hold_up_nothing(
    code: str, error: type[Exception]
) -> None:
    async with receiving() as (server, receiver):
        await receiver.tell(findings(), None)
        server.answer = of_studies(*UIDS, but=coded(code))
        for uid in UIDS:
            with pytest.raises(error):
                await told(receiver, findings(subject(4, study=uid)))


@pytest.mark.parametrize("code", ["AR", "AE"])
async def test_a_refused_repetition_is_no_refusal(code: str) -> None:
    """Of either message of a telling, whether or not the answer to the first time came."""
    before = findings(subject(4), finding(1))

    async def refuse(ris: Ris, data: bytes) -> bytes | None:
        known = {control_id(one) for one in ris.messages}
        ris.take(data)
        return acknowledgement(code if control_id(data) in known else "AA", control_id(data))

    async with receiving(taken_and_closed) as (server, receiver):
        with pytest.raises(ReceiverUnavailable):
            await receiver.tell(before, None)
        server.answer = refuse
        with capture_logs() as lines:
            for _ in range(3):
                await receiver.tell(before, None)
            references = {(await receiver.tell(at_patient(RECALLED), before)).reference for _ in range(4)}
    assert len(references) == 1
    assert not lines


async def test_an_identifier_that_cannot_be_written_reaches_nobody() -> None:
    async with ris_server() as server:
        receiver = OruReceiver(MllpClient("127.0.0.1", server.port), OruTerms(charset="BIG-5"))
        about = subject().model_copy(update={"patient": PatientIdentifier(value="naïve", assigner="H")})
        with pytest.raises(InvalidResource):
            await receiver.tell(findings(about), None)
        await receiver.close()
    assert not server.ris.messages

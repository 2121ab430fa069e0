"""A receiver of ORU messages that answers AE, closes, hangs, or acknowledges another message: afterwards it holds everything once,
in its last state; and one item that it cannot take does not hold up the others."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from structlog.testing import capture_logs

from connectors.mllp.client import MllpClient
from connectors.reporting.hl7oru import OruReceiver
from schemas.errors import InvalidResource, ItemNotServed, ReceiverUnavailable, ResourceRefused
from schemas.findings import NotAnalysedReason
from schemas.identifiers import PatientIdentifier
from schemas.renderings.hl7oruterms import OruTerms
from tests.contract.example_findings import finding, findings, not_analysed, subject
from tests.contract.oru_ris import Ris, accept, acknowledgement, control_id, ris_server
from tests.unit.oru_receivers import FAULTS, UIDS, close, coded, of_studies, patience, receiving, told


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


async def test_an_item_that_was_taken_in_the_end_has_all_its_tries_again() -> None:
    async with receiving(close) as (server, receiver):
        for answer in (close, accept, close):
            server.answer = answer
            for tries in (1, 2):
                with nullcontext() if answer is accept else pytest.raises(ReceiverUnavailable, match=f"{tries} of 3"):
                    await receiver.tell(findings(), None)


async def test_when_something_is_taken_five_more_may_be_put_aside() -> None:
    """Also where that is too old to be sent once more."""
    async with receiving(fresh_s=0) as (server, receiver):
        for uids in (UIDS[:5], UIDS[5:8]):
            server.answer = coded("AR")
            for uid in uids:
                with pytest.raises(ResourceRefused):
                    await receiver.tell(findings(subject(4, study=uid)), None)
            server.answer = accept
            await receiver.tell(findings(subject(4, study=UIDS[8])), None)


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


async def test_an_identifier_that_cannot_be_written_reaches_nobody() -> None:
    async with ris_server() as server:
        receiver = OruReceiver(MllpClient("127.0.0.1", server.port), OruTerms(charset="BIG-5"))
        about = subject().model_copy(update={"patient": PatientIdentifier(value="naïve", assigner="H")})
        with pytest.raises(InvalidResource):
            await receiver.tell(findings(about), None)
        await receiver.close()
    assert not server.ris.messages

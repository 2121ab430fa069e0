"""The client against receivers that behave as the test says: order, answers of others, retries, enhanced mode, TLS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from connectors.mllp.client import MllpClient, MllpReceiverUnavailable
from connectors.mllp.framing import frame
from connectors.tls import CertificateFiles, client_context, reason_of
from schemas.errors import MalformedMessage
from tests.unit.certificates import Authority
from tests.unit.mllp_listener import Store, listening
from tests.unit.mllp_listener import message as plain_message
from tests.unit.mllp_receiver import Write, ack, receiving


def message(number: int | str) -> bytes:
    return f"MSH|^~\\&|RIS|H|||20260101||ORM^O01|C{number}|P|2.5.1|||AL|AL\r".encode()


async def test_several_unanswered_messages_in_order_each_with_its_own_answer() -> None:
    held: list[str] = []

    async def backwards(control_id: str, write: Write) -> None:
        held.append(control_id)
        if len(held) == 4:
            write(b"".join(ack("AR" if one == "C3" else "AA", one) for one in reversed(held)))
            held.clear()

    async with receiving(backwards) as receiver, MllpClient("127.0.0.1", receiver.port, window=4) as client:
        answers = await asyncio.gather(*(client.send(message(number)) for number in range(40)))
    assert receiver.got == [f"C{number}" for number in range(40)]
    assert [answer.message_control_id for answer in answers] == receiver.got
    assert [answer.code for answer in answers] == ["AR" if number == 3 else "AA" for number in range(40)]


async def test_without_a_window_nothing_is_sent_before_the_answer() -> None:
    unanswered: list[str] = []

    async def late(control_id: str, write: Write) -> None:
        unanswered.append(control_id)
        assert len(unanswered) == 1
        await asyncio.sleep(0)
        write(ack("AA", unanswered.pop()))

    async with receiving(late) as receiver, MllpClient("127.0.0.1", receiver.port) as client:
        answers = await asyncio.gather(*(client.send(message(number)) for number in range(20)))
    assert all(answer.accepted for answer in answers)
    assert receiver.got == [f"C{number}" for number in range(20)]


async def test_ae_is_sent_again_and_nothing_overtakes_it() -> None:
    codes = {"C0": ["AE", "CE", "AA"], "C1": ["AR"], "C2": ["CA"]}

    async def answer(control_id: str, write: Write) -> None:
        write(ack(codes[control_id].pop(0), control_id))

    async with receiving(answer) as receiver, MllpClient("127.0.0.1", receiver.port) as client:
        answers = await asyncio.gather(*(client.deliver(message(number), wait_s=0.01) for number in range(3)))
        assert client.resent == 2
    assert [one.code for one in answers] == ["AA", "AR", "CA"]
    assert receiver.got == ["C0", "C0", "C0", "C1", "C2"]


async def test_attempts_are_used_up() -> None:
    async def never(control_id: str, write: Write) -> None:
        write(ack("AE", control_id))

    async with receiving(never) as receiver, MllpClient("127.0.0.1", receiver.port) as client:
        assert (await client.deliver(message(1), attempts=3, wait_s=0.01)).code == "AE"
    assert receiver.got == ["C1"] * 3
    async with MllpClient("127.0.0.1", receiver.port) as client:
        with pytest.raises(MllpReceiverUnavailable, match="refused"):
            await client.deliver(message(1), attempts=2, wait_s=0.01)
        assert client.resent == 1


async def test_an_answer_that_never_comes_is_awaited_on_no_other_connection() -> None:
    answered = asyncio.Event()

    async def first_never(control_id: str, write: Write) -> None:
        if receiver.connections > 1:
            write(ack("AA", control_id))
            answered.set()

    async with receiving(first_never) as receiver, MllpClient("127.0.0.1", receiver.port, timeout_s=2, window=3) as client:
        gone = await asyncio.gather(*(client.send(message(number)) for number in range(3)), return_exceptions=True)
        assert [type(one) for one in gone] == [MllpReceiverUnavailable] * 3
        assert (await client.send(message(1))).accepted
    assert receiver.connections == 2


async def test_the_application_answer_is_awaited_when_asked_for() -> None:
    """Enhanced mode: CA at once, AE of the application later; the next message does not take it for its own."""

    async def enhanced(control_id: str, write: Write) -> None:
        write(ack("CR", control_id) if control_id == "C3" else ack("CA", control_id))
        write(ack("AE", control_id) if control_id != "C3" else b"")

    async with receiving(enhanced) as receiver, MllpClient("127.0.0.1", receiver.port) as client:
        assert (await client.send(message(1))).code == "CA"
        assert (await client.send(message(2), application=True)).code == "AE"
        assert (await client.send(message(3), application=True)).code == "CR"


async def test_an_answer_whose_carriage_return_never_comes() -> None:
    async def without(control_id: str, write: Write) -> None:
        write(ack("AA", control_id)[:-1])

    async with receiving(without) as receiver, MllpClient("127.0.0.1", receiver.port) as client:
        assert (await client.send(message(1))).accepted


async def test_who_is_called_off_takes_no_answer_of_another() -> None:
    came = asyncio.Event()

    async def silent(control_id: str, write: Write) -> None:
        came.set()
        if receiver.connections > 1:
            write(ack("AA", control_id))

    async with receiving(silent) as receiver, MllpClient("127.0.0.1", receiver.port) as client:
        sending = asyncio.create_task(client.send(message(1)))
        await came.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert (await client.send(message(1))).accepted
    assert receiver.connections == 2


async def test_mutual_tls(tmp_path: Path) -> None:
    async def accept(control_id: str, write: Write) -> None:
        write(ack("AA", control_id))

    hospital, stranger = Authority(tmp_path, "hospital"), Authority(tmp_path, "stranger")
    server, own = hospital.sign("server"), hospital.sign("client")
    tls = CertificateFiles(server.certificate, server.key, hospital.certificate).context()
    async with receiving(accept, tls) as receiver:
        known = client_context(hospital.certificate, own.certificate, own.key)
        async with MllpClient("127.0.0.1", receiver.port, tls=known) as client:
            assert (await client.send(message(1))).accepted
        async with MllpClient("127.0.0.1", receiver.port, tls=client_context(stranger.certificate)) as client:
            with pytest.raises(MllpReceiverUnavailable, match="certificate"):
                await client.send(message(1))
        async with MllpClient("127.0.0.1", receiver.port, tls=client_context(hospital.certificate)) as client:
            with pytest.raises(MllpReceiverUnavailable):
                await client.send(message(1))
    MllpClient("ris.example.org", 2575, tls=known)


def test_a_host_that_is_not_known_is_said_in_words() -> None:
    assert reason_of(socket.gaierror(socket.EAI_NONAME, "Name or service not known")) == "Name or service not known"


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[int]:
    """A receiver that sends these bytes when it has got anything, then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        for answer in answers:
            writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_the_client_sends_and_reads_its_answer() -> None:
    store = Store()
    async with listening(store) as (server, _), MllpClient("127.0.0.1", server.port) as client:
        answers = await asyncio.gather(*(client.send(plain_message(number)) for number in range(20)))
    assert [(answer.code, answer.message_control_id) for answer in answers] == [("AA", f"C{n}") for n in range(20)]
    assert store.contents == [plain_message(number) for number in range(20)]


async def test_the_answer_to_another_message_is_passed_over() -> None:
    async with answering(ack("AA", "C9"), frame(b"noise"), ack("AE", "C1")) as port, MllpClient("127.0.0.1", port) as client:
        assert (await client.send(plain_message(1))).code == "AE"


@pytest.mark.parametrize("answers", [(), (ack("AA", "C9"),)])
async def test_a_connection_that_ends_without_the_answer(answers: tuple[bytes, ...]) -> None:
    async with answering(*answers) as port, MllpClient("127.0.0.1", port) as client:
        with pytest.raises(MllpReceiverUnavailable):
            await client.send(plain_message(1))


async def test_a_receiver_that_hangs_or_is_not_there() -> None:
    store = Store()
    async with listening(store, opened=False) as (server, _):
        async with MllpClient("127.0.0.1", server.port, timeout_s=2) as client:
            with pytest.raises(MllpReceiverUnavailable):
                await client.send(plain_message(1))
            store.open.set()
            assert (await client.send(plain_message(2))).message_control_id == "C2", "the late answer to C1 is not taken for it"
        port = server.port
    async with MllpClient("127.0.0.1", port) as client:
        with pytest.raises(MllpReceiverUnavailable):
            await client.send(plain_message(1))


async def test_a_message_without_control_id_is_not_sent() -> None:
    async with MllpClient("127.0.0.1", 1) as client:
        with pytest.raises(MalformedMessage):
            await client.send(b"MSH|^~\\&|RIS|H|||20260101||ORM^O01||P|2.5.1\r")

"""`radstream send`: from files to answers, and what is told of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import MalformedMessage, SettingsInvalid
from schemas.hl7v2.header import Header
from streams.listener_settings import ListenerSettings
from streams.send import target
from streams.sending import Letter, Plan, Tally, letters_of, send, with_control_id
from tests.unit.mllp_receiver import Write, ack, receiving


def message(number: int | str, end: str = "\r") -> bytes:
    return f"MSH|^~\\&|RIS|H|||20260101||ORM^O01|C{number}|P|2.5.1{end}PID|||SECRET{end}".encode()


async def accept(control_id: str, write: Write) -> None:
    write(ack("AA", control_id))


async def sent(folder: Path, *contents: bytes, port: int, **plan: Any) -> Tally:
    files = []
    for number, content in enumerate(contents):
        files.append(folder / f"{number}.hl7")
        files[-1].write_bytes(content)
    letters, _ = letters_of(files)
    tally = Tally(len(letters) * plan.get("repeat", 1))
    await asyncio.wait_for(send(letters, Plan("127.0.0.1", port, **plan), tally, asyncio.Event()), 30)
    return tally


async def test_files_in_order_with_whatever_line_ends(tmp_path: Path) -> None:
    async with receiving(accept) as receiver:
        tally = await sent(
            tmp_path,
            message(1, "\n") + message(2, "\n"),
            b"\x0b" + message(3) + b"\x1c\r\x0b" + message(4) + b"\x1c\r",
            b"BHS|^~\\&\r" + message(5) + b"BTS|1\r",
            port=receiver.port,
        )
    assert receiver.got == ["C1", "C2", "C3", "C4", "C5"]
    assert (tally.well, tally.answers, tally.done) == (True, {"AA": 5}, 5)
    assert len(tally.latencies) == 5


async def test_a_thousand_times_with_control_ids_of_their_own(tmp_path: Path) -> None:
    async with receiving(accept) as receiver:
        tally = await sent(tmp_path, message(1), port=receiver.port, repeat=1000, new_control_ids=True, window=32, connections=2)
    assert tally.answers == {"AA": 1000}
    assert len(set(receiver.got)) == 1000
    assert max(map(len, receiver.got)) <= 20
    assert receiver.connections == 2


async def test_the_same_message_many_times_under_way(tmp_path: Path) -> None:
    async with receiving(accept) as receiver:
        tally = await sent(tmp_path, message(1), port=receiver.port, repeat=100)
    assert (tally.answers, receiver.got) == ({"AA": 100}, ["C1"] * 100)


async def test_the_pace_is_kept(tmp_path: Path) -> None:
    async with receiving(accept) as receiver:
        tally = await sent(tmp_path, message(1), port=receiver.port, repeat=40, rate=100)
    assert 0.38 < tally.seconds < 5


async def test_what_was_not_accepted_is_told_without_what_the_receiver_says_of_the_patient(tmp_path: Path) -> None:
    again = {"C3": ["AE", "AA"]}

    async def answer(control_id: str, write: Write) -> None:
        code = again[control_id].pop(0) if control_id in again else {"C2": "AR"}.get(control_id, "AA")
        told = f"MSH|^~\\&|||||||ACK|X|P|2.5\rMSA|{code}|{control_id}\r"
        write(b"\x0b" + (told + "ERR||PID^1^3|204^SECRET unknown^HL70357|E|||SECRET\r").encode() + b"\x1c\r")

    async with receiving(answer) as receiver:
        tally = await sent(tmp_path, message(1) + message(2) + message(3) + b"MSH|^~\\&|RIS\r", port=receiver.port)
    assert (tally.answers, tally.sent_again, tally.well) == ({"AA": 2, "AR": 1}, 1, False)
    assert {(one.line, one.message_control_id, one.what) for one in tally.troubles} == {
        (7, "", "not sent: MSH-10: a message without control id cannot be acknowledged"),
        (3, "C2", "AR, condition 204 at PID-1-3"),
    }
    assert "SECRET" not in json.dumps(tally.as_dict())


async def test_a_receiver_that_went_away_ends_it(tmp_path: Path) -> None:
    async def silent(control_id: str, write: Write) -> None:
        return

    async with receiving(silent) as receiver:
        tally = await sent(tmp_path, message(1), port=receiver.port, repeat=500, retries=0, timeout_s=0.1, window=4)
    assert 20 <= tally.unanswered <= 24
    assert not tally.well
    assert tally.as_dict()["not_sent"] == 500 - tally.unanswered


async def test_a_receiver_that_answers_now_and_then_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.sending._GONE", 2)

    async def now_and_then(control_id: str, write: Write) -> None:
        if control_id in ("C2", "C4"):
            write(ack("AA", control_id))

    async with receiving(now_and_then) as receiver:
        messages = (message(number) for number in (1, 2, 3, 4, 5))
        tally = await sent(tmp_path, *messages, port=receiver.port, retries=0, timeout_s=2, window=1)
    assert (tally.unanswered, tally.answers) == (3, {"AA": 2})


def test_troubles_without_end_are_counted_and_some_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.sending.LISTED", 3)
    tally = Tally(10)
    for line in range(10):
        tally.trouble(Letter("orders.hl7", line, b"MSH|^~\\&|||||||ORM^O01|C\x1b[2J\xa0"), "AR")
    assert (tally.troubled, len(tally.troubles)) == (10, 3)
    assert tally.troubles[0].message_control_id == "C?[2J", "a terminal does as its bytes say"


def test_another_control_id_and_not_one_byte_else() -> None:
    told = with_control_id(message("ALT"), "NEW-1")
    assert told == message("ALT").replace(b"CALT", b"NEW-1")
    assert Header.read(with_control_id(b"\xef\xbb\xbfMSH|^~\\&|RIS\rPID|1\r", "N")).field(10) == "N"
    assert with_control_id(b"MSH|^~\\&|RIS\nPID|1", "N") == b"MSH|^~\\&|RIS|||||||N\nPID|1"
    big5 = message("ALT").replace(b"|H|", "|台大醫院|".encode("cp950")).replace(b"|2.5.1", b"|2.5.1||||||BIG-5" + b"|x" * 30)
    assert with_control_id(big5, "NEW-1") == big5.replace(b"CALT", b"NEW-1"), "the last byte of MSH-4 is that of a separator"
    with pytest.raises(MalformedMessage):
        with_control_id(b"PID|1", "N")


@pytest.mark.parametrize(
    ("to", "found"),
    [
        (None, ("127.0.0.1", 2575)),
        ("ris.hospital:2576", ("ris.hospital", 2576)),
        ("[::1]:2576", ("::1", 2576)),
        ("ris.hospital", None),
        ("ris.hospital:99999", None),
        ("http://ris:80", None),
        ("ris:80/x", None),
        ("somebody@ris:80", None),
    ],
)
def test_target(to: str | None, found: tuple[str, int] | None) -> None:
    if found:
        assert target(to, ListenerSettings(), tls=False) == found
    else:
        with pytest.raises(SettingsInvalid):
            target(to, ListenerSettings(), tls=False)


def test_the_listener_of_the_settings() -> None:
    everywhere = ListenerSettings(host="0.0.0.0", allow_plaintext_beyond_loopback=True)
    assert target(None, everywhere, tls=False) == ("127.0.0.1", 2575)
    secured = ListenerSettings(tls_certificate=Path("a"), tls_key=Path("b"))
    with pytest.raises(SettingsInvalid, match="--tls-ca"):
        target(None, secured, tls=False)
    assert target(None, secured, tls=True) == ("127.0.0.1", 2575)


# ---------------------------------------------------------------------------------------------------- as it is called


async def radstream_send(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streams", "send", *arguments, env={**os.environ, "RADSTREAM_CONFIG": os.devnull},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_command(tmp_path: Path) -> None:
    async def answer(control_id: str, write: Write) -> None:
        write(ack("AR" if control_id == "C2" else "AA", control_id))

    file = tmp_path / "orders.hl7"
    file.write_bytes(message(3))
    async with receiving(answer) as receiver:
        code, out, err = await radstream_send("-", str(file), "--to", f"127.0.0.1:{receiver.port}", stdin=message(1) + message(2))
        assert (code, err) == (1, "")
        assert receiver.got == ["C1", "C2", "C3"]
        assert "answers: AA 2, AR 1; unanswered: 0; sent again: 0" in out
        assert "  -:3 C2: AR" in out
        code, out, err = await radstream_send(str(file), "--to", f"127.0.0.1:{receiver.port}", "--json")
        assert (code, json.loads(out)["answers"], err) == (0, {"AA": 1}, "")
    code, out, err = await radstream_send(str(file), "--to", f"127.0.0.1:{receiver.port}")
    assert (code, out) == (1, "")
    assert err == f"connect: 127.0.0.1:{receiver.port}: Connection refused\n"


async def test_a_pipe_is_a_file_too() -> None:
    """As in `radstream send <(command)`."""

    async def answer(control_id: str, write: Write) -> None:
        write(ack("AA", control_id))

    async with receiving(answer) as receiver:
        code, _, err = await radstream_send("/dev/stdin", "--to", f"127.0.0.1:{receiver.port}", stdin=message(1))
    assert (code, err, receiver.got) == (0, "", ["C1"])


async def test_one_that_never_answers_may_want_something_else(tmp_path: Path) -> None:
    async def answer(control_id: str, write: Write) -> None:
        write(b"\x15")  # no acknowledgement of HL7

    file = tmp_path / "orders.hl7"
    file.write_bytes(message(1))
    async with receiving(answer) as receiver:
        code, out, _ = await radstream_send(str(file), "--to", f"127.0.0.1:{receiver.port}", "--retries", "0", "--timeout", "0.3")
    assert code == 1
    assert "no answer at all: does the receiver take this host, want TLS" in out


async def test_lines_of_no_message_are_told_and_not_shown() -> None:
    async with receiving(accept) as receiver:
        arguments = ("-", "--to", f"127.0.0.1:{receiver.port}")
        code, out, err = await radstream_send(*arguments, stdin=b"\r\rPID|||SECRET\r" + message(1))
    assert (code, err, receiver.got) == (1, "", ["C1"])
    assert "  -:3 (no control id): not sent: belongs to no message" in out
    assert "SECRET" not in out


async def test_ctrl_c_ends_it_with_the_outcome_so_far(tmp_path: Path) -> None:
    came = asyncio.Event()

    async def answer(control_id: str, write: Write) -> None:
        write(ack("AA", control_id))
        came.set()

    file = tmp_path / "orders.hl7"
    file.write_bytes(message(1))
    async with receiving(answer) as receiver:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "streams", "send", str(file), "--to", f"127.0.0.1:{receiver.port}",
            "--rate", "0.05", "--repeat", "9", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await asyncio.wait_for(came.wait(), 30)
        process.send_signal(signal.SIGINT)
        out, _ = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 1
    assert b": 1 of 9 in " in out


async def test_plain_text_beyond_loopback_is_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "orders.hl7"
    file.write_bytes(message(1))
    code, _, err = await radstream_send(str(file), "--to", "203.0.113.9:2575")
    assert code == 2
    assert "plain text beyond loopback is refused" in err

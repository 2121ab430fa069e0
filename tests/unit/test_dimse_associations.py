"""The receiver over real sockets: who gets in, who is hung up on, and how it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connectors.case_store import SqlCaseStore
from connectors.tls import CertificateFiles, client_context
from schemas.errors import SettingsInvalid
from tests.unit.certificates import Authority
from tests.unit.dimse_listener import DEADLINE_S, STUDY, UID, listening, said
from tests.unit.dimse_listener import kept_cases as kept_cases  # the fixture `cases`
from tests.unit.dimse_peer import IAN, MPPS, NAME, notification, step


async def test_who_may_associate(cases: SqlCaseStore) -> None:
    with capture_logs() as logs:
        async with listening(cases, ae_title="AI", calling_ae_titles=("CR1", "CR2")) as here:
            for title, called, answered in (("CR1", "AI", True), ("CR2", "AI", True), ("CR3", "AI", False), ("CR1", "RIS", False)):
                assert bool(await here.caller(title=title, called=called).echo()) is answered
    assert [(line["event"], line["calling_ae_title"]) for line in logs] == [
        ("an association is rejected", "CR3"),
        ("an association is rejected", "CR1"),
    ]


async def test_only_allowed_networks_get_in(cases: SqlCaseStore) -> None:
    async with listening(cases, allowed=(ip_network("10.0.0.0/8"),)) as here:
        assert not await here.caller().echo()
    async with listening(cases, allowed=(ip_network("127.0.0.0/8"),)) as here:
        assert said(await here.caller().echo()) == (0, "")


async def test_more_associations_than_allowed_are_rejected_until_one_ends(cases: SqlCaseStore) -> None:
    async with listening(cases, associations=2) as here:
        held = [await asyncio.to_thread(here.caller().associate) for _ in range(2)]
        refused = await asyncio.to_thread(here.caller().associate)
        assert [one.is_established for one in held] == [True, True]
        #: PS3.8 table 9-21: transient, of the presentation, local limit exceeded
        rejection = refused.acceptor.primitive
        assert refused.is_rejected
        assert (rejection.result, rejection.result_source, rejection.diagnostic) == (2, 3, 2)
        await asyncio.to_thread(held[0].release)
        async with asyncio.timeout(DEADLINE_S):
            while not await here.caller().echo():
                await asyncio.sleep(0.05)
        await asyncio.to_thread(held[1].release)


async def test_whoever_is_silent_is_hung_up_on(cases: SqlCaseStore) -> None:
    """Before the association, within a PDU, and within the association; others are served meanwhile."""
    async with listening(cases, idle_s=2.5) as here:
        silent, half = [await asyncio.open_connection("127.0.0.1", here.receiver.port) for _ in range(2)]
        half[1].write(b"\x01\x00\x00\x00\x10\x00abc")
        associated = await asyncio.to_thread(here.caller().associate)
        assert said(await here.caller().echo()) == (0, "")
        async with asyncio.timeout(DEADLINE_S):
            for reader, writer in (silent, half):
                await reader.read()
                writer.close()
            while not associated.is_aborted:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x01\x00\xff\xff\xff\xff" + b"x" * 100,
        b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x01\x03",
        f"GET /{NAME} HTTP/1.1\r\n\r\n".encode(),
        b"\x16\x03\x01\x00\x05" + NAME.encode(),
        b"\x01\x00\x00\x00\x00\x44\x00\x01\x00\x00" + b"\xff" * 64,
    ],
)
async def test_what_is_no_association_is_cut(
    cases: SqlCaseStore, sent: bytes, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logs:
        async with listening(cases, idle_s=2.5) as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.receiver.port)
            writer.write(sent)
            async with asyncio.timeout(DEADLINE_S):
                heard = await reader.read()
            writer.close()
            assert heard[:1] in (b"", b"\x07"), "nothing, or A-ABORT"
            assert said(await here.caller().echo()) == (0, "")
    out, err = capfd.readouterr()
    assert "Mustermann" not in json.dumps(logs) + out + err + heard.decode("latin-1")
    assert "Traceback" not in err
    assert [record.name for record in caplog.records if record.name.startswith(("pynetdicom", "pydicom"))] == []


async def test_a_message_without_end_is_cut(cases: SqlCaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.dimse.receiver._MESSAGE_LIMIT", 64 * 1024)
    with capture_logs() as logs:
        async with listening(cases) as here:
            many = {f"1.2.3.{number}": "ONLINE" for number in range(200)}
            assert (await here.caller().create(IAN, UID, notification(STUDY, many))).Status == 0
            too_many = notification(STUDY, {f"1.2.3.{number}": "ONLINE" for number in range(2000)})
            assert not await here.caller().create(IAN, UID, too_many)
            assert len(here.told) == 1
    assert [(line["event"], line["reason"]) for line in logs] == [("an association is cut", "a PDU or message is too long")]


async def test_a_pdu_that_is_too_long_is_cut_before_it_has_come(cases: SqlCaseStore) -> None:
    with capture_logs() as logs:
        async with listening(cases) as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.receiver.port)
            writer.write(b"\x01\x00" + (128 * 1024 + 1).to_bytes(4, "big"))
            async with asyncio.timeout(DEADLINE_S):
                assert (await reader.read())[:1] == b"\x07"
            writer.close()
    assert [(line["event"], line["reason"]) for line in logs] == [("an association is cut", "a PDU or message is too long")]


async def test_many_messages_of_one_association_are_not_one_too_long(cases: SqlCaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.dimse.receiver._MESSAGE_LIMIT", 64 * 1024)
    async with listening(cases) as here:
        association = await asyncio.to_thread(here.caller().associate)
        many = notification(STUDY, {f"1.2.3.{number}": "ONLINE" for number in range(200)})
        for _ in range(4):
            assert (await asyncio.to_thread(association.send_n_create, many, IAN, UID))[0].Status == 0
        await asyncio.to_thread(association.release)


async def test_large_messages_are_whole(cases: SqlCaseStore) -> None:
    """Four thousand slices."""
    async with listening(cases) as here:
        many = {f"1.2.3.{number}": "ONLINE" for number in range(4000)}
        assert (await here.caller().create(IAN, UID, notification(STUDY, many))).Status == 0
        assert here.told[0].instances == tuple(many)


async def test_what_is_in_flight_at_the_end_is_answered(cases: SqlCaseStore) -> None:
    async with listening(cases) as here:
        idle = await asyncio.to_thread(here.caller().associate)
        here.written.clear()
        asking = asyncio.create_task(here.caller().create(IAN, UID, notification(STUDY, {"1.2.1": "ONLINE"})))
        await here.writing.wait()
        here.stop.set()
        asyncio.get_running_loop().call_later(0.5, here.written.set)
    assert said(await asking) == (0, "")
    assert len(here.told) == 1
    async with asyncio.timeout(DEADLINE_S):
        while not idle.is_aborted:
            await asyncio.sleep(0.05)
    assert not await here.caller().echo()


async def test_what_takes_too_long_at_the_end_is_not_waited_for(cases: SqlCaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.dimse.receiver._STOP_S", 0.3)
    async with listening(cases, answer_s=DEADLINE_S * 2) as here:
        here.written.clear()
        asking = asyncio.create_task(here.caller().create(IAN, UID, notification(STUDY, {"1.2.1": "ONLINE"})))
        await here.writing.wait()
    here.written.set()
    assert not await asking, "no answer is no success"
    assert not await here.caller().echo()
    assert here.told == []


async def test_a_caller_that_leaves_has_told_all_the_same(cases: SqlCaseStore) -> None:
    async with listening(cases) as here:
        here.written.clear()
        association = await asyncio.to_thread(here.caller().associate)
        asking = asyncio.to_thread(association.send_n_create, notification(STUDY, {"1.2.1": "ONLINE"}), IAN, UID)
        task = asyncio.create_task(asking)
        await here.writing.wait()
        association.dul.socket.close()  # as when its power fails
        await task
        asyncio.get_running_loop().call_later(0.3, here.written.set)  # when we are at our end
    assert [notice.study_instance_uid for notice in here.told] == [STUDY]


async def test_a_taken_address_is_told(cases: SqlCaseStore) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsInvalid, match=f"dicom: 127.0.0.1:{port}: the address cannot be bound"):
            async with listening(cases, port=port):
                pass


async def test_tls_and_a_certificate_that_is_renewed(cases: SqlCaseStore, tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    first, second, ours = old.sign("receiver"), new.sign("receiver"), old.sign("modality")
    files = CertificateFiles(first.certificate, first.key, client_ca=old.certificate)
    known = client_context(old.certificate, ours.certificate, ours.key)
    async with listening(cases, tls=files) as here:
        silent = await asyncio.open_connection("127.0.0.1", here.receiver.port)
        assert said(await here.caller(tls=known).echo()) == (0, ""), "in spite of one that never shakes hands"
        assert not await here.caller(tls=client_context(old.certificate)).echo(), "shows no certificate"
        assert not await here.caller().echo(), "speaks no TLS"
        first.key.write_bytes(second.key.read_bytes())
        first.certificate.write_bytes(second.certificate.read_bytes())
        assert not await here.caller(tls=known).echo()
        renewed: ssl.SSLContext = client_context(new.certificate, ours.certificate, ours.key)
        assert said(await here.caller(tls=renewed).create(MPPS, UID, step(STUDY))) == (0, "")
        silent[1].close()


async def test_a_certificate_that_cannot_be_used_is_told_at_start(cases: SqlCaseStore, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="cannot be used as certificate"):
        async with listening(cases, tls=CertificateFiles(tmp_path / "none", tmp_path / "none")):
            pass

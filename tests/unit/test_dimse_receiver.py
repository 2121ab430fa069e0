"""The receiver over real sockets: who is heard, what is answered when, and what never comes out."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from structlog.testing import capture_logs

from connectors.case_store import SqlCaseStore
from connectors.dimse.receiver import DicomReceiver
from connectors.tls import CertificateFiles, client_context
from schemas.errors import BrokerUnavailable, SettingsInvalid, StoreUnavailable
from schemas.notices import StudyNoticed
from schemas.study_ports import RefusedChange
from tests.unit.certificates import Authority
from tests.unit.dimse_peer import IAN, MPPS, NAME, Caller, change, notification, step

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
STUDY = "1.2.840.99"
UID = "1.2.840.1"
DEADLINE_S = 20


class _Noon:
    def now(self) -> datetime:
        return NOON


class Listening:
    """A receiver, and the log that its notices go to."""

    def __init__(self, cases: SqlCaseStore, **said: Any) -> None:
        self.told: list[StudyNoticed] = []
        self.refused: list[RefusedChange] = []
        self.broker: BaseException | None = None
        self.writing, self.written = asyncio.Event(), asyncio.Event()
        self.written.set()
        self.receiver = DicomReceiver(
            cases, self.refuse, _Noon(), default_accession_assigner="SITE", port=said.pop("port", 0), **said
        )
        self.stop = asyncio.Event()

    async def _write(self) -> None:
        self.writing.set()
        await self.written.wait()
        if self.broker is not None:
            raise self.broker

    async def tell(self, notices: Sequence[StudyNoticed]) -> None:
        await self._write()
        self.told += notices

    async def refuse(self, change: RefusedChange) -> None:
        await self._write()
        self.refused.append(change)

    def caller(self, **said: Any) -> Caller:
        return Caller(self.receiver.port, **said)


@pytest.fixture
async def cases(tmp_path: Path) -> AsyncIterator[SqlCaseStore]:
    cases = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    yield cases
    await cases.close()


@asynccontextmanager
async def listening(cases: SqlCaseStore, **said: Any) -> AsyncIterator[Listening]:
    here = Listening(cases, **said)
    ready = asyncio.Event()
    task = asyncio.create_task(here.receiver.listen(here.tell, here.stop, ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE_S)
    waiting.cancel()
    if task.done():
        task.result()
    try:
        yield here
    finally:
        here.stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await task


def said(status: Dataset) -> tuple[int, str]:
    return int(status.Status), str(status.get("ErrorComment", ""))


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_step_is_told_at_its_end(cases: SqlCaseStore, implicit: bool) -> None:
    async with listening(cases) as here:
        caller = here.caller(implicit=implicit)
        assert said(await caller.echo()) == (0, "")
        assert said(await caller.create(MPPS, UID, step(STUDY))) == (0, "")
        assert said(await caller.set(UID, change(None, one=["1.2.1"]))) == (0, "")
        assert here.told == []
        assert said(await caller.set(UID, change(bb=["1.2.2"]))) == (0, "")
        [notice] = here.told
        assert notice.model_dump(exclude_defaults=True, exclude={"id"}) == {
            "time": NOON,
            "source": "dicom:mpps",
            "source_position": UID,
            "study_instance_uid": STUDY,
            "accession_number": {"value": "A7", "assigner": "SITE"},
            "instances": ("1.2.1", "1.2.2"),
            "source_ae_title": "CR1",
        }  # fmt: skip
        assert await cases.position(f"dicom:mpps/{UID}") is None


async def test_a_discontinued_step_is_forgotten_and_not_told(cases: SqlCaseStore) -> None:
    async with listening(cases) as here:
        caller = here.caller()
        await caller.create(MPPS, UID, step(STUDY))
        assert said(await caller.set(UID, change("DISCONTINUED", one=["1.2.1"]))) == (0, "")
        assert (here.told, await cases.position(f"dicom:mpps/{UID}")) == ([], None)


async def test_what_was_begun_survives_us(cases: SqlCaseStore) -> None:
    async with listening(cases) as before:
        await before.caller().create(MPPS, UID, step(STUDY))
    async with listening(cases) as here:
        caller = here.caller()
        assert said(await caller.create(MPPS, UID, step(STUDY))) == (0, ""), "a repeat is harmless"
        assert said(await caller.set(UID, change(one=["1.2.1"]))) == (0, "")
        assert [(notice.study_instance_uid, notice.instances) for notice in here.told] == [(STUDY, ("1.2.1",))]


async def test_states_and_their_statuses(cases: SqlCaseStore) -> None:
    async with listening(cases) as here:
        caller = here.caller()
        assert (await caller.set(UID, change())).Status == 0x0112
        await caller.create(MPPS, UID, step(STUDY))
        await caller.set(UID, change(None, one=["1.2.1"]))
        assert (await caller.create(MPPS, UID, step(STUDY))).Status == 0, "the same N-CREATE again, in the middle"
        assert (await caller.create(MPPS, UID, step("1.2.840.98"))).Status == 0x0111
        assert (await caller.set(UID, change("LOST"))).Status == 0x0106
        assert (await caller.set(UID, change(bb=["1.2.2"]))).Status == 0
        assert (await caller.set(UID, change(bb=["1.2.2"]))).Status == 0, "the same N-SET again, its answer was lost"
        changed = await caller.set(UID, change(bb=["1.2.3"]))
        assert (changed.Status, changed.ErrorID) == (0x0110, 0xA710)
        assert (await caller.set(UID, change("DISCONTINUED"))).Status == 0x0110
        assert (await caller.create(MPPS, UID, step(STUDY))).Status == 0x0111
        assert len(here.told) == 1
        assert len(here.refused) == 1
    async with listening(cases) as here:
        assert (await here.caller().set(UID, change(bb=["1.2.2"]))).Status == 0x0112, "it was forgotten"


async def test_steps_at_the_same_time_do_not_mix(cases: SqlCaseStore) -> None:
    async with listening(cases) as here:
        steps = {f"1.2.7.{number}": (f"1.2.8.{number}", f"1.2.9.{number}") for number in range(8)}

        async def perform(uid: str, study: str, instance: str) -> None:
            caller = here.caller(title=f"CR{study[-1]}")
            assert (await caller.create(MPPS, uid, step(study, station=""))).Status == 0
            assert (await caller.set(uid, change(one=[instance]))).Status == 0

        await asyncio.gather(*(perform(uid, *made) for uid, made in steps.items()))
        told = {str(one.study_instance_uid): (one.instances, one.source_ae_title) for one in here.told}
        assert told == {study: ((instance,), f"CR{study[-1]}") for study, instance in steps.values()}


async def test_a_notification_is_told(cases: SqlCaseStore) -> None:
    async with listening(cases) as here:
        caller = here.caller(title="PACS")
        ian = notification(STUDY, {"1.2.1": "ONLINE", "1.2.2": "NEARLINE", "1.2.3": "UNAVAILABLE"})
        for uid in (UID, UID, "1.2.840.2"):
            assert said(await caller.create(IAN, uid, ian)) == (0, "")
        first, again, other = here.told
        assert first == again
        assert first.id != other.id
        assert (first.study_instance_uid, first.instances, first.removed) == (STUDY, ("1.2.1", "1.2.2"), True)
        assert (first.source, first.source_position, first.source_ae_title) == ("dicom:ian", UID, None)


async def test_a_uid_is_assigned_where_the_caller_gives_none(cases: SqlCaseStore) -> None:
    async with listening(cases) as here:
        ian = notification(STUDY, {"1.2.1": "ONLINE"})
        for _ in range(2):
            assert (await here.caller().create(IAN, None, ian)).Status == 0
        first, again = here.told
        assert first == again
        assert first.source_position.startswith("2.25.")


async def test_while_nothing_can_be_written_the_caller_must_come_again(cases: SqlCaseStore) -> None:
    async with listening(cases) as here:
        caller = here.caller()
        await caller.create(MPPS, UID, step(STUDY))
        here.broker = BrokerUnavailable("append", "imaging.notices", "no answer")
        ian = notification(STUDY, {"1.2.1": "ONLINE"})
        for status in (
            await caller.set(UID, change(one=["1.2.1"])),
            await caller.create(IAN, UID, ian),
            await caller.create(MPPS, "1.2.3", step()),
        ):
            assert said(status) == (0x0110, "Nothing was taken; send it again later")
            assert "ErrorID" not in status
        here.broker = None
        assert (await caller.set(UID, change(one=["1.2.1"]))).Status == 0
        assert (await caller.create(IAN, UID, ian)).Status == 0
        assert [notice.source for notice in here.told] == ["dicom:mpps", "dicom:ian"]
        assert here.refused == []


async def test_no_answer_in_time_is_told_as_such(cases: SqlCaseStore) -> None:
    async with listening(cases, answer_s=0.2) as here:
        here.written.clear()
        status = await here.caller().create(IAN, UID, notification(STUDY, {"1.2.1": "ONLINE"}))
        assert said(status) == (0x0110, "Nothing was taken; send it again later")
        here.written.set()


async def test_a_step_that_cannot_be_kept_is_not_answered_with_success(
    cases: SqlCaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(source: str, position: str) -> None:
        raise StoreUnavailable("put", "positions", "locked")

    async with listening(cases) as here:
        monkeypatch.setattr(cases, "put_position", away)
        assert (await here.caller().create(MPPS, UID, step(STUDY))).Status == 0x0110
        monkeypatch.undo()
        assert (await here.caller().create(MPPS, UID, step(STUDY))).Status == 0


async def test_what_cannot_be_read_is_kept_whole_and_nothing_of_it_is_repeated(cases: SqlCaseStore) -> None:
    missing, wrong = step(), step(STUDY, PerformedProcedureStepDescription=NAME, status="MUSTERMANN")
    with capture_logs() as logs:
        async with listening(cases) as here:
            caller = here.caller()
            comments = [
                said(await caller.create(MPPS, UID, missing)),
                said(await caller.create(MPPS, UID, wrong)),
                said(await caller.create(IAN, UID, step(STUDY))),
            ]
    assert comments == [
        (0x0120, "Scheduled Step Attributes Sequence is missing"),
        (0x0106, "Performed Procedure Step Status has a value that is not known"),
        (0x0120, "Study Instance UID is missing"),
    ]
    assert [line["status"] for line in logs] == ["0x0120", "0x0106", "0x0120"]
    assert "mustermann" not in json.dumps(logs).lower()
    [first, second, third] = here.refused
    kept = json.loads(second.change)
    assert NAME.encode() in base64.b64decode(kept.pop("data_set"))
    assert kept == {
        "command": "N-CREATE",
        "sop_class_uid": MPPS,
        "sop_instance_uid": UID,
        "calling_ae_title": "CR1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
    }
    assert str(second.error) == f"dicom: N-CREATE {UID}: Performed Procedure Step Status has a value that is not known"
    assert (first.time, json.loads(third.change)["sop_class_uid"]) == (NOON, IAN)


async def test_an_error_of_our_own_is_told_without_its_words(cases: SqlCaseStore) -> None:
    with capture_logs() as logs:
        async with listening(cases) as here:
            here.broker = ValueError(NAME)
            assert (await here.caller().create(IAN, UID, notification(STUDY, {"1.2.1": "ONLINE"}))).Status == 0x0110
    assert [line["event"] for line in logs] == ["a DICOM message failed", "a DICOM message is not taken"]
    assert (logs[0]["error"], logs[0]["log_level"]) == ("ValueError", "critical")
    assert "Mustermann" not in json.dumps(logs)


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
    async with listening(cases, idle_s=0.5) as here:
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
async def test_what_is_no_association_is_cut(cases: SqlCaseStore, sent: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with capture_logs() as logs:
        async with listening(cases, idle_s=1) as here:
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
    assert not await asking, "no answer is no success"
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
        here.written.set()
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

"""What modalities and archives say over real sockets: what is told of it, what they are answered and when, and what never
comes out."""

from __future__ import annotations

import asyncio
import base64
import json
import logging

import pytest
from structlog.testing import capture_logs

from connectors.case_store import SqlCaseStore
from schemas.errors import BrokerUnavailable, StoreUnavailable
from tests.unit.dimse_listener import NOON, STUDY, UID, listening, said
from tests.unit.dimse_listener import kept_cases as kept_cases  # the fixture `cases`
from tests.unit.dimse_peer import IAN, MPPS, NAME, change, notification, step


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


async def test_what_cannot_be_read_is_kept_whole_and_nothing_of_it_is_repeated(
    cases: SqlCaseStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
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
    assert [record.name for record in caplog.records if record.name.startswith(("pynetdicom", "pydicom"))] == []
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


async def test_who_does_the_same_wrong_again_is_one_line(cases: SqlCaseStore) -> None:
    with capture_logs() as logs:
        async with listening(cases) as here:
            for uid in (UID, UID, "1.2.840.2"):
                assert (await here.caller().set(uid, change())).Status == 0x0112
    assert [line["sop_instance_uid"] for line in logs] == [UID, "1.2.840.2"]


async def test_an_error_of_our_own_is_told_without_its_words(cases: SqlCaseStore) -> None:
    with capture_logs() as logs:
        async with listening(cases) as here:
            here.broker = ValueError(NAME)
            assert (await here.caller().create(IAN, UID, notification(STUDY, {"1.2.1": "ONLINE"}))).Status == 0x0110
    assert [line["event"] for line in logs] == ["a DICOM message failed", "a DICOM message is not taken"]
    assert (logs[0]["error"], logs[0]["log_level"]) == ("ValueError", "critical")
    assert "Mustermann" not in json.dumps(logs)

"""Which settings were changed since the last start is on the audit, and no value of any."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from schemas.acts import SettingsChanged
from schemas.errors import BrokerUnavailable
from schemas.ports import Outgoing, Record
from streams import topics, up
from streams.audit import settings_changed
from streams.audit.acts import login_name
from streams.audit.settings_changed import audit_settings
from streams.settings import Settings
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.packages import CLOCK


@pytest.fixture
def log() -> FakeEventLog:
    log = FakeEventLog()
    log.create(topics.AUDIT.name, partitions=1)
    return log


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RADSTREAM_CONFIG", os.devnull)
    return tmp_path


def settings(folder: Path, run: str = "run", **sections: Any) -> Settings:
    (folder / run).mkdir(exist_ok=True)
    return Settings(run_folder=folder / run, audit={"hash_key_file": folder / "key"}, **sections)  # type: ignore[arg-type]


async def started(log: FakeEventLog, now: Settings) -> SettingsChanged | None:
    return await audit_settings(log, FakeHistory(log), now, by="A. Lin", clock=CLOCK)


async def test_the_first_start_names_what_is_no_default(log: FakeEventLog, folder: Path) -> None:
    act = await started(log, settings(folder, database={"url": "postgresql://radstream:s3cret@db/radstream"}))
    assert act is not None
    assert act.names == ("RADSTREAM_AUDIT__HASH_KEY_FILE", "RADSTREAM_DATABASE__URL", "RADSTREAM_RUN_FOLDER")
    (record,) = log.records(topics.AUDIT.name)
    assert SettingsChanged.model_validate_json(record.value) == act
    assert b"s3cret" not in record.value
    assert b"postgresql" not in record.value
    assert (folder / "key").read_text().strip().encode() not in record.value


async def test_only_what_changed_is_named(log: FakeEventLog, folder: Path) -> None:
    await started(log, settings(folder))
    assert await started(log, settings(folder)) is None, "nothing changed"
    act = await started(log, settings(folder, mllp={"port": 2599}, runner={"window": 2}))
    assert act is not None
    assert act.names == ("RADSTREAM_MLLP__PORT", "RADSTREAM_RUNNER__WINDOW")
    assert (act.by, act.reason) == ("A. Lin", "radstream up")
    back = await started(log, settings(folder, mllp={"port": 2599}))
    assert back is not None
    assert back.names == ("RADSTREAM_RUNNER__WINDOW",)
    assert len(log.records(topics.AUDIT.name)) == 3


async def of_an_older_version(log: FakeEventLog, folder: Path, **more: str) -> None:
    """The last act, from when the port had no name yet."""
    first = await started(log, settings(folder))
    assert first is not None
    (record,) = log.records(topics.AUDIT.name)
    older = {name: digest for name, digest in first.digests.items() if name != "RADSTREAM_MLLP__PORT"} | more
    value = first.model_copy(update={"digests": older}).model_dump_json().encode()
    await log.append([Outgoing(topics.AUDIT.name, record.key, value, record.headers)])
    (folder / "run" / "last-settings-change").unlink()


async def test_a_setting_that_an_older_version_did_not_have_is_named_when_it_is_no_default(log: FakeEventLog, folder: Path) -> None:
    await of_an_older_version(log, folder)
    assert await started(log, settings(folder)) is None, "an upgrade is no act"
    act = await started(log, settings(folder, mllp={"port": 2599}))
    assert act is not None
    assert act.names == ("RADSTREAM_MLLP__PORT",)
    assert await started(log, settings(folder, mllp={"port": 2599})) is None


async def test_a_setting_that_an_older_version_had_is_named(log: FakeEventLog, folder: Path) -> None:
    await of_an_older_version(log, folder, RADSTREAM_OLD="a" * 64)
    act = await started(log, settings(folder))
    assert act is not None
    assert act.names == ("RADSTREAM_OLD",)


async def test_two_engines_of_one_broker_have_settings_of_their_own(log: FakeEventLog, folder: Path) -> None:
    await started(log, settings(folder, "one", mllp={"port": 2599}))
    other = await started(log, settings(folder, "other"))
    assert other is not None
    assert other.names == ("RADSTREAM_MLLP__PORT", "RADSTREAM_RUN_FOLDER"), "of an engine never seen: other than the last of any"
    assert await started(log, settings(folder, "one", mllp={"port": 2599})) is None
    assert await started(log, settings(folder, "other")) is None


async def test_without_the_key_it_is_said_that_nothing_can_be_compared(log: FakeEventLog, folder: Path) -> None:
    await started(log, settings(folder))
    (folder / "key").unlink()
    act = await started(log, settings(folder))
    assert act is not None
    assert set(act.names) == set(act.digests)
    assert "may have changed" in act.reason
    assert await started(log, settings(folder)) is None


async def test_the_order_of_the_same_values_is_no_change(log: FakeEventLog, folder: Path) -> None:
    codes = {"A": "36643-5", "B": "36554-4"}
    await started(log, settings(folder, site={"examinations": codes}))
    act = await started(log, settings(folder, site={"examinations": dict(reversed(codes.items()))}))
    assert act is None


async def test_text_may_begin_like_a_list(log: FakeEventLog, folder: Path) -> None:
    named = {"kafka": {"bootstrap": "[::1]:9092"}, "site": {"default_assigner": "[Test] Hospital {A}"}}
    act = await started(log, settings(folder, **named))
    assert act is not None
    assert {"RADSTREAM_KAFKA__BOOTSTRAP", "RADSTREAM_SITE__DEFAULT_ASSIGNER"} <= set(act.names)
    assert await started(log, settings(folder, **named)) is None


async def test_what_is_on_the_audit_and_cannot_be_read_is_passed_over(log: FakeEventLog, folder: Path) -> None:
    await started(log, settings(folder))
    (record,) = log.records(topics.AUDIT.name)
    await log.append([Outgoing(topics.AUDIT.name, record.key, b"{}", record.headers)])
    assert await started(log, settings(folder)) is None


async def test_the_log_is_read_once_and_then_one_record_of_it(log: FakeEventLog, folder: Path) -> None:
    note = folder / "run" / "last-settings-change"

    class Closed(FakeEventLog):
        def read(self, topic: str, *, follow: bool = False, last: int | None = None) -> AsyncIterator[Record]:
            raise AssertionError("all of it was read")

    await started(log, settings(folder))
    closed = Closed()
    closed.topics = log.topics
    assert note.stat().st_mode & 0o777 == 0o600
    assert await started(closed, settings(folder)) is None
    act = await started(closed, settings(folder, runner={"window": 2}))
    assert act is not None
    assert act.names == ("RADSTREAM_RUNNER__WINDOW",)
    back = await started(closed, settings(folder))
    assert back is not None
    assert back.names == ("RADSTREAM_RUNNER__WINDOW",), "the note is of the last act"


@pytest.mark.parametrize("noted", ["", "é", "nothing", "radstream.audit/0/7", "radstream.audit/0/0", "ai.results/0/0"])
async def test_a_note_that_leads_nowhere_costs_only_time(log: FakeEventLog, folder: Path, noted: str) -> None:
    await log.append([Outgoing(topics.AUDIT.name, b"k", b"{}", (("ce_type", b"other"),))])
    await started(log, settings(folder))
    (folder / "run" / "last-settings-change").write_text(noted)
    assert await started(log, settings(folder)) is None
    assert (folder / "run" / "last-settings-change").read_text() == "radstream.audit/0/1", "the next start has it"
    log.create(topics.AUDIT.name, partitions=1)  # another broker
    assert await started(log, settings(folder)) is not None


async def test_a_crash_before_the_note_tells_no_change_twice(
    log: FakeEventLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await started(log, settings(folder))
    with monkeypatch.context() as crashing:
        crashing.setattr(settings_changed, "_note", lambda *_: None)
        assert await started(log, settings(folder, runner={"window": 2})) is not None
    assert await started(log, settings(folder, runner={"window": 2})) is None


async def test_a_folder_that_takes_no_note_stops_nothing(log: FakeEventLog, folder: Path) -> None:
    now = settings(folder)
    (folder / "run" / "last-settings-change").mkdir()
    assert await started(log, now) is not None
    assert await started(log, now) is None


async def test_an_engine_whose_settings_cannot_be_audited_does_not_start(log: FakeEventLog, folder: Path) -> None:
    log.away = True
    with pytest.raises(BrokerUnavailable):
        await started(log, settings(folder))


async def test_it_is_told_before_any_role_begins(log: FakeEventLog, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told_before: list[int] = []

    class NothingRuns:
        """A supervisor whose roles are never ready."""

        def __init__(self, *_: object, **__: object) -> None:
            told_before.append(len(log.records(topics.AUDIT.name)))

        def stop(self) -> None: ...

        @asynccontextmanager
        async def running(self) -> AsyncIterator[None]:
            yield

        async def ready(self, _: float) -> bool:
            return False

    monkeypatch.setattr(up, "Supervisor", NothingRuns)
    monkeypatch.setattr(up, "log_for", lambda _: nullcontext(log))
    monkeypatch.setattr(up, "live_history_for", lambda _: FakeHistory(log))
    for name in ("configure_logging", "ensure_all_topics"):
        monkeypatch.setattr(up, name, lambda _: None)
    monkeypatch.setattr(up.os, "umask", lambda _: 0)
    said: list[str] = []
    now = settings(folder)
    await up.run_up(now, said.append)
    await up.run_up(now, said.append)
    assert (told_before, said) == ([1, 1], ["stopped before it was ready"] * 2)
    (record,) = log.records(topics.AUDIT.name)
    assert SettingsChanged.model_validate_json(record.value).by == login_name()

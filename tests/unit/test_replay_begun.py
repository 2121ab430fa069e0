"""A replay is begun in a sandbox of its own, and ends once: whatever stops it on the way."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.acts import ReplayBegun
from schemas.errors import SettingsInvalid
from streams import topics
from streams.replay import replaying
from streams.replay.manifest import Manifest, ReplayFolder
from streams.replay.replaying import create, run
from streams.settings import Settings
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.test_replay_manifest import PLAN, WHO


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(run_folder=tmp_path / "run")


class Opening:
    """Of a replay: everything but its steps is as it is; the run itself ends when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *there: str) -> None:
        self.log = FakeEventLog(topics.AUDIT.name)
        monkeypatch.setattr(replaying, "list_topics", lambda bootstrap: dict.fromkeys(there, 4))
        self.reached = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.found = False
        monkeypatch.setattr(replaying, "log_for", lambda settings: nullcontext(self.log))
        monkeypatch.setattr(replaying, "history_for", lambda settings: FakeHistory(self.log))
        monkeypatch.setattr(replaying, "ensure_sandbox", lambda settings, sandbox: [])
        monkeypatch.setattr(replaying, "opened", self._opened)

    async def _opened(self, *_: object, **__: object) -> SimpleNamespace:
        self.reached.set()
        await self.goes_on.wait()
        running = SimpleNamespace(run=self._run, done=0)
        return SimpleNamespace(running=running, outbox=SimpleNamespace(found=self.found, put_so_far={}), inputs=None)

    async def _run(self, inputs: object) -> bool:
        return True

    @property
    def acts(self) -> list[ReplayBegun]:
        return [ReplayBegun.model_validate_json(record.value) for record in self.log.records(topics.AUDIT.name)]


@pytest.mark.parametrize("by", ["Ctrl-C", "pause"])
async def test_a_stop_is_heard_before_the_first_record(settings: Settings, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    opening, folder, stop = Opening(monkeypatch), create(settings, "one", PLAN, WHO), asyncio.Event()
    running = asyncio.create_task(run(settings, folder, rate=None, stop=stop, tell=lambda done: None))
    await opening.reached.wait()
    stop.set() if by == "Ctrl-C" else folder.ask_pause()
    assert (await running).state == folder.read().state == "planned"
    assert not folder.is_held


async def test_that_it_is_done_is_on_the_audit_also_when_it_was_killed_while_it_was_written(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, folder = Opening(monkeypatch), create(settings, "one", PLAN, WHO)
    opening.goes_on.set()
    write = ReplayFolder.write

    def killed(folder: ReplayFolder, manifest: Manifest) -> None:
        if manifest.state == "done":
            raise OSError
        write(folder, manifest)

    monkeypatch.setattr(ReplayFolder, "write", killed)
    with suppress(OSError):
        await run(settings, folder, rate=None, stop=asyncio.Event(), tell=lambda done: None)
    monkeypatch.setattr(ReplayFolder, "write", write)
    assert folder.read().state == "running"
    assert [act.outcome for act in opening.acts] == ["begun", "done"]
    await run(settings, folder, rate=None, stop=asyncio.Event(), tell=lambda done: None)
    assert folder.read().state == "done"
    assert [act.outcome for act in opening.acts] == ["begun", "done", "begun", "done"]
    assert len({act.id for act in opening.acts if act.outcome == "done"}) == 1


async def test_one_that_is_done_keeps_no_case_store(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    opening, folder = Opening(monkeypatch), create(settings, "one", PLAN, WHO)
    opening.goes_on.set()
    for name in ("work.db", "work.db-wal", "snapshot.db"):
        (folder.path / name).touch()
    await run(settings, folder, rate=None, stop=asyncio.Event(), tell=lambda done: None)
    assert {file.name for file in folder.path.iterdir()} == {"manifest.json", "lock"}


async def test_the_case_store_that_a_kill_has_left_goes_with_the_next_look(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the manifest said that it is done."""
    Opening(monkeypatch)
    folder = create(settings, "one", PLAN, WHO)
    folder.write(folder.read().model_copy(update={"state": "done"}))
    for name in ("work.db", "snapshot.db"):
        (folder.path / name).touch()
    with pytest.raises(SettingsInvalid, match="is done"):
        await run(settings, folder, rate=None, stop=asyncio.Event(), tell=lambda done: None)
    assert {file.name for file in folder.path.iterdir()} == {"manifest.json", "lock"}


async def test_a_sandbox_that_is_somebody_elses_is_not_begun(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the act is written: a shadow has topics of the same names."""
    opening, folder = Opening(monkeypatch, "sandbox.one.ai.results"), create(settings, "one", PLAN, WHO)
    opening.goes_on.set()
    with pytest.raises(SettingsInvalid, match=r"sandbox.one.ai.results is there already, of a shadow or of a replay elsewhere"):
        await run(settings, folder, rate=None, stop=asyncio.Event(), tell=lambda done: None)
    assert (folder.has_begun, opening.acts) == (False, [])


async def test_one_that_was_killed_behind_its_beginning_knows_its_topics(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, folder = Opening(monkeypatch), create(settings, "one", PLAN, WHO)
    with monkeypatch.context() as killed, suppress(OSError):
        killed.setattr(replaying, "ensure_sandbox", _killed)
        await run(settings, folder, rate=None, stop=asyncio.Event(), tell=lambda done: None)
    assert (folder.has_begun, folder.read().state) == (True, "planned")
    monkeypatch.setattr(replaying, "list_topics", lambda bootstrap: {"sandbox.one.ai.results": 1})
    opening.goes_on.set()
    assert (await run(settings, folder, rate=None, stop=asyncio.Event(), tell=lambda done: None)).state == "done"


async def test_what_somebody_wrote_into_it_meanwhile_is_not_its_own(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    opening, folder = Opening(monkeypatch), create(settings, "one", PLAN, WHO)
    opening.found = True
    opening.goes_on.set()
    with pytest.raises(SettingsInvalid, match="its sandbox is not empty"):
        await run(settings, folder, rate=None, stop=asyncio.Event(), tell=lambda done: None)
    assert not folder.has_begun


def _killed(*_: object) -> None:
    raise OSError

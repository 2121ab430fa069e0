"""`replay remove`: what is its own is deleted and nothing else, and the audit says how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.acts import ReplayRemoved
from schemas.errors import BrokerUnavailable, RadstreamError, SettingsInvalid
from streams import topics
from streams.replay import removing
from streams.replay.manifest import ReplayFolder, all_replays
from streams.replay.outbox import sandbox_of
from streams.replay.replaying import Who, create, run
from streams.replay.run_commands import _row
from streams.settings import Settings
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.test_replay_manifest import PLAN, WHO


class Broker:
    """Its audit, and what was deleted on it; `refuses`: what it says to that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = FakeEventLog(topics.AUDIT.name)
        self.deleted: list[str] = []
        self.told_before: list[str] = []
        self.refuses: RadstreamError | None = None
        monkeypatch.setattr(removing, "log_for", lambda settings: nullcontext(self.log))
        monkeypatch.setattr(removing, "delete_topics", self._delete)

    def _delete(self, bootstrap: str, names: Sequence[str]) -> Sequence[str]:
        self.told_before = [act.outcome for act in self.acts]
        if isinstance(self.refuses, BrokerUnavailable):
            self.log.away = True
        if self.refuses is not None:
            raise self.refuses
        self.deleted += names
        return list(names)

    @property
    def acts(self) -> list[ReplayRemoved]:
        return [ReplayRemoved.model_validate_json(record.value) for record in self.log.records(topics.AUDIT.name)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(run_folder=tmp_path / "run")


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    return Broker(monkeypatch)


def begun(settings: Settings) -> ReplayFolder:
    folder = create(settings, "one", PLAN, WHO)
    folder.write(folder.read().model_copy(update={"begun_at": datetime(2026, 11, 30, tzinfo=UTC)}))
    (folder.path / "work.db").touch()
    return folder


async def test_it_is_audited_before_and_after_and_its_name_stays_used(settings: Settings, broker: Broker) -> None:
    folder = begun(settings)
    with folder.held(), pytest.raises(SettingsInvalid, match="another process"):
        await removing.remove(settings, ReplayFolder(settings, "one"), WHO)
    with pytest.raises(SettingsInvalid, match="--reason"):
        await removing.remove(settings, folder, Who("Dr A", " "))
    assert await removing.remove(settings, folder, WHO) == [topic.name for topic in sandbox_of("one").topics] == broker.deleted
    assert broker.told_before == ["begun"]
    assert [(act.outcome, act.replay, act.by, act.reason) for act in broker.acts] == [
        (outcome, "one", "Dr A", "because") for outcome in ("begun", "done")
    ]
    assert {record.key for record in broker.log.records(topics.AUDIT.name)} == {b"replay.one"}
    assert len({act.id for act in broker.acts}) == 2
    assert not list(folder.path.iterdir())
    assert not all_replays(settings)
    for name in ("one", "none"):
        with pytest.raises(SettingsInvalid, match="no replay of this name"):
            await removing.remove(settings, ReplayFolder(settings, name), WHO)
    with pytest.raises(SettingsInvalid, match="there is, or was, a replay of this name"):
        create(settings, "one", PLAN, WHO)


async def test_of_one_that_has_not_begun_the_folder_alone(settings: Settings, broker: Broker) -> None:
    """The topics of that name are those of a shadow."""
    folder = create(settings, "candidate-2", PLAN, WHO)
    assert await removing.remove(settings, folder, WHO) == ()
    assert not broker.deleted
    assert not list(folder.path.iterdir())
    assert [act.outcome for act in broker.acts] == ["begun", "done"]


@pytest.mark.parametrize("manifest", ["{", "{}", '{"begun_at": "2026-11-30T00:00:00Z", "of": "another version"}'])
async def test_one_of_another_version_is_removed_whole(settings: Settings, broker: Broker, manifest: str) -> None:
    folder = create(settings, "one", PLAN, WHO)
    (folder.path / "manifest.json").write_text(manifest)
    await removing.remove(settings, folder, WHO)
    assert len(broker.deleted) == len(sandbox_of("one").topics)


async def test_what_the_broker_refuses_is_not_told_as_removed(settings: Settings, broker: Broker) -> None:
    folder = begun(settings)
    broker.refuses = SettingsInvalid("delete topics", "sandbox.one.ai.results", "the broker refuses it")
    with pytest.raises(SettingsInvalid, match="refuses it"):
        await removing.remove(settings, folder, WHO)
    assert [act.outcome for act in broker.acts] == ["begun", "failed"]
    assert folder.exists
    broker.refuses = None
    await removing.remove(settings, folder, WHO)
    assert [act.outcome for act in broker.acts] == ["begun", "failed", "begun", "done"]


async def test_a_broker_that_goes_away_is_told_as_that(settings: Settings, broker: Broker) -> None:
    folder = begun(settings)
    broker.refuses = BrokerUnavailable("delete topics", "broker", "does not answer")
    with pytest.raises(BrokerUnavailable, match="delete topics"):
        await removing.remove(settings, folder, WHO)
    assert (broker.told_before, folder.exists) == (["begun"], True)


@pytest.mark.parametrize("when", ["before it is told", "after it was told"])
async def test_one_that_is_interrupted_is_done_again(
    settings: Settings, broker: Broker, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Broker away, or killed: until it is told that it is done there is something to remove."""
    folder, told = begun(settings), when == "after it was told"
    method = "end_removal" if told else "empty"
    real = getattr(ReplayFolder, method)

    def interrupted(self: ReplayFolder) -> None:
        if told:
            raise KeyboardInterrupt
        real(self)
        broker.log.away = True

    monkeypatch.setattr(ReplayFolder, method, interrupted)
    with pytest.raises(KeyboardInterrupt if told else BrokerUnavailable):
        await removing.remove(settings, folder, WHO)
    monkeypatch.setattr(ReplayFolder, method, real)
    broker.log.away = False
    assert not (folder.path / "work.db").exists()
    assert state_of(folder) == "half removed"
    with folder.held():
        assert state_of(folder) == "being removed"
    with pytest.raises(SettingsInvalid, match="radstream replay remove one does the rest"):
        await run(settings, folder, rate=None, stop=asyncio.Event(), tell=lambda done: None)
    await removing.remove(settings, folder, WHO)
    assert [act.outcome for act in broker.acts] == ["begun", *(["done"] if told else []), "begun", "done"]
    assert not list(folder.path.iterdir())
    assert not all_replays(settings)


async def test_one_that_nobody_began_to_remove_is_as_it_was(settings: Settings, broker: Broker) -> None:
    folder = begun(settings)
    broker.log.away = True
    with pytest.raises(BrokerUnavailable):
        await removing.remove(settings, folder, WHO)
    assert (state_of(folder), (folder.path / "work.db").exists()) == ("planned", True)


def state_of(folder: ReplayFolder) -> str:
    return str(_row(folder)["state"])

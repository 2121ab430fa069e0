"""The folder of a replay: a name is used once, one process has it, and nobody else reads it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from schemas.errors import SettingsInvalid
from streams.replay import run_commands
from streams.replay.commands import replay_app
from streams.replay.manifest import Manifest, ReplayFolder, all_replays
from streams.replay.plan import Plan
from streams.replay.replaying import Who, create, run
from streams.replay.selection import Selection
from streams.settings import Settings
from streams.wiring.replays import deciding_settings

PLAN = Plan(selection=Selection(patients=("4711^HOSPITAL",)), parts=())
WHO = Who("Dr A", "because")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(run_folder=tmp_path / "run")


def test_it_is_made_once_and_readable_by_its_owner_alone(settings: Settings) -> None:
    folder = create(settings, "last-week", PLAN, WHO, models=("chest/2",))
    assert folder.path == settings.run_folder.parent / "replay" / "last-week"
    for path in (folder.path, folder.path / "manifest.json"):
        assert path.stat().st_mode & 0o077 == 0
    manifest = folder.read()
    assert (manifest.state, manifest.asked, manifest.by, manifest.plan) == ("planned", ("chest/2",), "Dr A", PLAN)
    with pytest.raises(SettingsInvalid, match="resume it"):
        create(settings, "last-week", PLAN, WHO)
    create(settings, "another", PLAN, WHO)
    assert [one.name for one in all_replays(settings)] == ["another", "last-week"]


@pytest.mark.parametrize("name", ["", "Last", "a b", "../up", "a--b", "x" * 41])
def test_what_is_no_name(settings: Settings, name: str) -> None:
    with pytest.raises(SettingsInvalid):
        create(settings, name, PLAN, WHO)


@pytest.mark.parametrize("who", [Who("", "why"), Who("who", " "), Who("x" * 201, "why"), Who("who", "x" * 1001)])
def test_who_and_why_are_said(settings: Settings, who: Who) -> None:
    with pytest.raises(SettingsInvalid, match="--by"):
        create(settings, "one", PLAN, who)
    assert not all_replays(settings)


def test_there_is_none_or_one_of_another_version(settings: Settings) -> None:
    assert not all_replays(settings)
    with pytest.raises(SettingsInvalid, match="no replay of this name"):
        ReplayFolder(settings, "none").read()
    folder = create(settings, "old", PLAN, WHO)
    (folder.path / "manifest.json").write_text("{}")
    with pytest.raises(SettingsInvalid, match="not of this version"):
        folder.read()


def test_one_process_has_it_and_a_pause_asked_before_is_forgotten(settings: Settings) -> None:
    folder, other = create(settings, "one", PLAN, WHO), ReplayFolder(settings, "one")
    assert not other.is_held
    other.ask_pause()
    with folder.held():
        assert other.is_held
        assert not folder.pause_is_asked
        other.ask_pause()
        assert folder.pause_is_asked
        with pytest.raises(SettingsInvalid, match="another process"), other.held():
            pass
    assert not other.is_held


def test_settings_that_decide_what_is_said_are_known_from_those_that_say_where_things_are(settings: Settings) -> None:
    told = deciding_settings(settings)
    assert deciding_settings(Settings(run_folder="elsewhere", kafka={"bootstrap": "127.0.0.1:1"})) == told
    assert deciding_settings(Settings(models={"url": "/elsewhere"})) == told
    assert deciding_settings(Settings(correlation={"order_wait_s": 7})) != told
    assert deciding_settings(Settings(site={"default_assigner": "OTHER"})) != told
    assert deciding_settings(Settings(models={"gate": None})) != told
    assert deciding_settings(Settings(decoding={"workers": 7, "timeout_s": 7})) == told
    assert deciding_settings(Settings(decoding={"pixel_limit": 7})) != told
    assert deciding_settings(Settings(archive={"size_limit": 7})) != told


def test_the_address_of_a_remote_decides_and_who_we_are_there_does_not() -> None:
    def told(**remote: object) -> str:
        return deciding_settings(Settings(models={"remotes": {"triton": {"url": "https://one", **remote}}}))

    assert told(timeout_s=3, token_file="elsewhere") == told()
    assert told(url="https://other") != told()


@pytest.mark.parametrize("before", ["", "0.0.0"])
async def test_one_of_another_version_of_radstream_is_not_gone_on_with(settings: Settings, before: str) -> None:
    """Or half of what it says would be of the one, and half of the other."""
    folder = create(settings, "one", PLAN, WHO)
    assert folder.read().radstream == version("radstream")
    folder.write(folder.read().model_copy(update={"state": "paused", "radstream": before}))
    with pytest.raises(SettingsInvalid, match=f"version {before or 'unknown'} of radstream, and this is {version('radstream')}"):
        await run(settings, folder, rate=None, stop=asyncio.Event(), tell=lambda done: None)


def test_it_comes_back_as_it_was_written(settings: Settings) -> None:
    folder = create(settings, "one", PLAN, WHO)
    changed = folder.read().model_copy(update={"state": "done", "records": 3, "ended_at": datetime(2026, 1, 1, tzinfo=UTC)})
    folder.write(changed)
    assert folder.read() == changed
    assert Manifest.model_validate_json(changed.model_dump_json()) == changed


def test_one_of_a_former_version_is_listed_and_hides_no_other(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("former", "new", "unreadable"):
        create(settings, name, PLAN, WHO)
    file = ReplayFolder(settings, "former").path / "manifest.json"
    file.write_text(json.dumps({name: one for name, one in json.loads(file.read_text()).items() if name != "settings_sha256"}))
    (ReplayFolder(settings, "unreadable").path / "manifest.json").write_text("{}")
    monkeypatch.setattr(run_commands, "read_settings", lambda: settings)
    listed = CliRunner().invoke(replay_app, ["list", "--json"])
    assert listed.exit_code == 0, listed.output
    rows = {row["name"]: row for row in json.loads(listed.output)}
    assert [(name, row["state"]) for name, row in rows.items()] == [
        ("former", "planned"),
        ("new", "planned"),
        ("unreadable", "of another version"),
    ]
    assert {frozenset(row) for row in rows.values()} == {frozenset(rows["new"])}
    assert "unreadable" in CliRunner().invoke(replay_app, ["list"]).output


async def test_one_that_kept_no_settings_is_not_gone_on_with(settings: Settings) -> None:
    folder = create(settings, "one", PLAN, WHO)
    folder.write(folder.read().model_copy(update={"settings_sha256": None}))
    with pytest.raises(SettingsInvalid, match="begin one of another name"):
        await run(settings, folder, rate=None, stop=asyncio.Event(), tell=lambda done: None)


def test_what_people_wrote_is_no_markup_of_the_list(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    create(settings, "one", PLAN, Who("Dr [A]", "see mail [/x]"))
    folder = create(settings, "two", PLAN, WHO)
    folder.write(folder.read().model_copy(update={"state": "failed", "failure": "no [red]record[/blue]\x1b[2J"}))
    monkeypatch.setattr(run_commands, "read_settings", lambda: settings)
    monkeypatch.setattr(run_commands, "console", Console(width=300))
    listed = CliRunner().invoke(replay_app, ["list"])
    assert listed.exit_code == 0, listed.exception
    for words in ("Dr [A]", "see mail [/x]", "no [red]record[/blue]"):
        assert words in listed.output
    assert "\x1b[2J" not in listed.output

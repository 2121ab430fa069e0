"""`radstream audit verify`, as people and programs see it."""

from __future__ import annotations

import io
import json
import random
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rich.console import Console
from typer.testing import CliRunner

from schemas.errors import SettingsInvalid
from streams.audit import verify_command
from streams.audit.faults import Fault, merged
from streams.audit.verify_command import run_verify
from streams.audit_settings import AuditSettings
from streams.cli import app
from streams.settings import Settings
from tests.unit.notarised import Notarised, Tampered


@pytest.fixture
async def notarised(tmp_path: Path) -> Notarised:
    found = Notarised(tmp_path)
    await found.filled(random.Random(1), looks=2)
    (key,) = found.signer.keys.values()
    (tmp_path / "notary.pub").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return found


@pytest.fixture
def settings(notarised: Notarised) -> Settings:
    audit = AuditSettings(key_file=notarised.folder / "notary.key", checkpoint_file=notarised.file)
    return Settings(audit=audit)


async def said(
    settings: Settings, history: object, monkeypatch: pytest.MonkeyPatch, copies: tuple[Path, ...] = (), *, as_json: bool = False
) -> tuple[bool, str]:
    monkeypatch.setattr(verify_command, "open_history", lambda _: nullcontext(history))
    console = Console(file=io.StringIO(), width=200)
    well = await run_verify(settings, [], copies, console, as_json=as_json)
    return well, console.file.getvalue()  # type: ignore[attr-defined]


async def edited(notarised: Notarised) -> tuple[Tampered, str]:
    log = await notarised.tampered()
    (topic, partition), records = max(log.records_of.items(), key=lambda one: (one[0][0] == "ai.results", len(one[1])))
    del records[5]
    return log, f"{topic}/{partition}"


async def test_all_is_well(settings: Settings, notarised: Notarised, monkeypatch: pytest.MonkeyPatch) -> None:
    well, text = await said(settings, notarised.history, monkeypatch)
    assert well
    assert "All is as it was signed" in text and "nothing is promised" in text
    assert "radstream.audit/0" in text


async def test_what_was_removed_is_named(settings: Settings, notarised: Notarised, monkeypatch: pytest.MonkeyPatch) -> None:
    log, place = await edited(notarised)
    well, text = await said(settings, log, monkeypatch)
    assert not well
    (line,) = [one for one in text.splitlines() if one.startswith(place)]
    assert line.startswith(f"{place} offsets 0-6 (between checkpoints 0 and ") and line.endswith("records were removed; missing: 5")
    assert "1 places do not fit" in text


async def test_programs_get_json(
    settings: Settings, notarised: Notarised, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log, place = await edited(notarised)
    await notarised.write(random.Random(2), 3)
    assert await said(settings, log, monkeypatch, as_json=True) == (False, "")
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["well"] is False
    (fault,) = told["faults"]
    assert (fault["kind"], fault["place"], fault["first"], fault["end"], fault["missing"]) == ("changed", place, 0, 7, [[5, 5]])
    assert sum(one["end"] - one["first"] for one in told["verified"]) == 120
    assert "verified: " in err, "how far it is"


async def test_an_older_copy_of_the_file_will_do(
    settings: Settings, notarised: Notarised, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(b"".join(line + b"\n" for line in notarised.lines()[:2]))
    well, text = await said(settings, notarised.history, monkeypatch, (copy,))
    assert well and "lacks the last checkpoints, 3-" in text
    notarised.file.write_bytes(copy.read_bytes())
    assert not (await said(settings, notarised.history, monkeypatch))[0], "the notary's own should have them"
    copy.write_bytes(copy.read_bytes().replace(b'"partition":', b'"partition": ', 1))
    well, text = await said(settings, notarised.history, monkeypatch, (copy,))
    assert not well and f"{copy}:1: is not what was signed" in text


async def test_where_the_notary_never_ran_nobody_is_accused(
    settings: Settings, notarised: Notarised, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notarised.file.rename(tmp_path / "copy.jsonl")
    with pytest.raises(SettingsInvalid, match="--checkpoint-file"):
        await said(settings, notarised.history, monkeypatch)
    assert (await said(settings, notarised.history, monkeypatch, (tmp_path / "copy.jsonl",)))[0]
    settings.audit.key_file.touch()
    well, text = await said(settings, notarised.history, monkeypatch)
    assert not well and "lacks checkpoints 1-" in text, "where it ran somebody has taken its file"


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    environment = {"RADSTREAM_CONFIG": "/dev/null", "RADSTREAM_AUDIT__KEY_FILE": str(tmp_path / "notary.key")}
    answer = CliRunner().invoke(app, ["audit", "verify"], env=environment)
    assert answer.exit_code == 1 and "--public-key" in str(answer.exception)


def test_neighbours_that_say_the_same_are_one() -> None:
    one = Fault("changed", "t/0", "records are not what was signed", 0, 5, (0, 1))
    two = replace(one, first=5, end=9, between=(1, 4), missing=((6, 6),))
    assert merged([one, two]) == [replace(one, end=9, between=(0, 4), missing=((6, 6),))]
    assert len(merged([one, replace(two, first=6)])) == 2
    assert len(merged([one, replace(two, place="t/1")])) == 2
    assert len(merged([one, replace(two, what="other")])) == 2

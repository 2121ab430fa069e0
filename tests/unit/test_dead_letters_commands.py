"""What is typed wrong is said before anything is asked of Kafka, of which there is none here."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.errors import SettingsInvalid
from streams.dead_letters.commands import dead_letters_app

WHY = ("--reason", "because")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "--since", "yesterday"), "--since"),
        (("list", "--since", "999999d"), "--since"),
        (("show", "5f2c1a", "--reveal"), "--reason"),
        (("resend", "--all-open"), "--reason"),
        (("resend", *WHY), "--all-open"),
        (("resend", "5f2c1a", "--step", "normalise", *WHY), "not both"),
        (("discard", "--dry-run"), "--all-open"),
        (("discard", "5f2c1a", "--reason", " "), "--reason"),
        (("discard", "5f2c1a", "--by", " ", *WHY), "--by"),
    ],
)
def test_usage(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(dead_letters_app, arguments)
    assert isinstance(result.exception, SettingsInvalid)
    assert said in str(result.exception)


@pytest.mark.parametrize("ids", [(), ("5f2c1a", "6f2c1a"), ("5f2c1a", "--all-open")])
def test_a_copy_is_of_one_letter(ids: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "mended.hl7"
    file.write_bytes(b"x")
    result = CliRunner().invoke(dead_letters_app, ["resend", *ids, "--correct", str(file), *WHY])
    assert result.exit_code == 2
    assert "ID of one" in result.output


@pytest.mark.parametrize("more", [("--all-open",), ("--step", "normalise"), ("5f2c1a", "--correct", __file__)])
def test_an_original_goes_behind_its_copy_only_where_it_is_named(more: tuple[str, ...]) -> None:
    result = CliRunner().invoke(dead_letters_app, ["resend", "--original", *more, *WHY])
    assert result.exit_code == 2
    assert "goes with IDs" in result.output

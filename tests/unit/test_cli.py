"""What `radstream` says of its own errors: one line and an exit code."""

from __future__ import annotations

import pytest

from schemas.errors import ArchiveUnavailable, BrokerUnavailable, MalformedMessage, RadstreamError, SettingsInvalid
from streams import cli
from streams.up import AlreadyUp


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (SettingsInvalid("settings", "RADSTREAM_X", "is wrong"), 2, "settings: RADSTREAM_X: is wrong\n"),
        (MalformedMessage("send", "MSH", "is none"), 1, "send: MSH: is none\n"),
        (BrokerUnavailable("tail", "h:1", "gone"), 1, "tail: h:1: gone (`radstream doctor` says what to do)\n"),
        (ArchiveUnavailable("query", "h:1", "gone"), 1, "query: h:1: gone (`radstream doctor` says what to do)\n"),
        (AlreadyUp("up", "var/run", "`radstream down` stops it"), 1, "up: var/run: `radstream down` stops it\n"),
    ],
)
def test_an_error_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: RadstreamError, code: int, line: str
) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, capsys.readouterr().err) == (code, line)

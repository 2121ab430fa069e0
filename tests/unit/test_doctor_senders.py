"""What `radstream doctor` says of senders whose messages were refused."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from streams.doctor import Examined, _senders
from streams.settings import Settings
from streams.tally import Tally


def test_one_warning_line_for_each_sender(tmp_path: Path) -> None:
    settings = Settings(run_folder=tmp_path)
    assert _senders(settings) == []
    tally = Tally(tmp_path, "work-normalise", iter(range(0, 1000, 10)).__next__)
    for error in ("MissingIdentifier", "MissingIdentifier", "MalformedMessage"):
        tally.rejected("RIS[red]|H", error)
    tally.garbage("10.0.0.1", "bytes outside a frame")
    tally.not_used("ADT^A60")
    sender, host = _senders(settings)
    assert (sender.what, sender.well, sender.warning) == ("sender RIS[red]|H", True, True)
    assert sender.found == "3 refused by work-normalise since its start: MissingIdentifier 2, MalformedMessage 1"
    assert host.what == "host 10.0.0.1"
    console = Console(width=200, record=True, file=StringIO())
    console.print(sender.line())
    text = console.export_text()
    assert "look" in text and "sender RIS[red]|H" in text and "radstream dead-letters list" in text


def test_the_columns_stand_under_each_other() -> None:
    findings = [
        Examined("kafka", True, "answers"),
        Examined("archive", False, "ConnectionError", "radstream services up"),
        Examined("host ::1", True, "1 refused", "radstream tail", warning=True),
    ]
    lines = [line for finding in findings for line in Text.from_markup(finding.line()).plain.splitlines()]
    assert lines == [
        "well   kafka            answers",
        "wrong  archive          ConnectionError",
        "                        -> radstream services up",
        "look   host ::1         1 refused",
        "                        -> radstream tail",
    ]

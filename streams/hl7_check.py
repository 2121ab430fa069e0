"""`radstream hl7 check`: of each message in a file, where it departs from the standard, and what radstream will make of it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from schemas.errors import Rejected
from schemas.hl7v2.admission import Admission, objection, type_of
from schemas.hl7v2.files import Piece, pieces_of
from schemas.hl7v2.header import Header
from schemas.hl7v2.message import Message
from schemas.hl7v2.site import Site
from schemas.renderings.hl7conformance import deviations, version_of
from streams.settings import Settings
from streams.steps.normalise import events_of

#: a message in a file was received at no time; what it becomes does not depend on it
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Finding:
    """`line` of the file; `value` is None unless it was asked for: it may be a patient's."""

    line: int
    place: str
    expected: str
    found: str
    error: bool
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One message. `outcome`: what radstream makes of it; `accepted`: without refusing it."""

    file: str
    line: int
    type: str
    version: str
    outcome: str
    accepted: bool
    findings: list[Finding] = field(default_factory=list)

    @property
    def right(self) -> bool:
        return self.accepted and not any(finding.error for finding in self.findings)


def check(settings: Settings, files: Iterable[Path], console: Console, *, as_json: bool, reveal: bool) -> bool:
    """Prints a report; whether every message is right."""
    reports = [report for file in files for report in examine(file, settings.site, settings.admission, reveal=reveal)]
    if as_json:
        sys.stdout.write(json.dumps([{**asdict(report), "right": report.right} for report in reports], indent=2) + "\n")
    else:
        for report in reports:
            _show(report, console)
        wrong = sum(not report.right for report in reports)
        console.print(f"{len(reports)} message(s), {wrong} wrong", highlight=False)
    return bool(reports) and all(report.right for report in reports)


def examine(file: Path, site: Site, admission: Admission, *, reveal: bool = False) -> Iterator[Report]:
    """A file without any message gives one report that says so."""
    pieces = list(pieces_of(file.read_bytes()))
    if not pieces:
        yield Report(str(file), 1, "other", "", "nothing: the file holds no message", accepted=False)
    for piece in pieces:
        if piece.is_message:
            yield _message(str(file), piece, site, admission, reveal)
        else:
            yield Report(str(file), piece.line, "other", "", "refused: lines that belong to no message", accepted=False)


def _message(file: str, piece: Piece, site: Site, admission: Admission, reveal: bool) -> Report:
    try:
        message = Message.parse(piece.content, site.default_charset)
    except Rejected as error:
        return Report(file, piece.line, "other", "", f"refused: {error.reference}: {error.reason}", accepted=False)
    header = Header.of(message)
    outcome, accepted = _outcome(message, header, site, admission)
    stand = {id(segment): line for segment, line in zip(message.segments, message.lines, strict=True)}
    findings = [
        Finding(
            piece.line - 1 + (message.lines[-1] if one.segment is None else stand[id(one.segment)]),
            one.place,
            one.expected,
            one.found,
            one.error,
            one.value if reveal else None,
        )
        for one in deviations(message)
    ]
    if message.undecodable_at is not None:
        found = f"at offset {message.undecodable_at} of the message the first byte that is not"
        findings.insert(0, Finding(piece.line, "message", f"characters of {message.charset}", found, error=False))
    return Report(file, piece.line, type_of(header), version_of(message), outcome, accepted, findings)


def _outcome(message: Message, header: Header, site: Site, admission: Admission) -> tuple[str, bool]:
    wrong = objection(header, admission, site.default_charset)
    if wrong is not None:
        return f"refused: {wrong.field}: {wrong.reason}", False
    try:
        events = events_of(message, site, _NEVER)
    except Rejected as error:
        return f"refused: {error.reference}: {error.reason}", False
    if events is None:
        return "not used: nothing here reads messages of its type", True
    counted = Counter(type(event).__name__ for event in events)
    return ", ".join(f"{number} {name}" for name, number in counted.items()) or "no event (a notice without an order)", True


def _show(report: Report, console: Console) -> None:
    mark = "ok" if report.right else "WRONG"
    told = " ".join(part for part in (report.type, report.version) if part)
    _line(console, f"{report.file}:{report.line}: {mark}: {told}: {report.outcome}")
    for one in report.findings:
        kind = "error" if one.error else "note"
        value = "" if one.value is None else f": {one.value}"
        _line(console, f"{report.file}:{one.line}: {kind}: {one.place}: expected {one.expected}; found {one.found}{value}")


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)

"""An audit message as one line of syslog (RFC 5424, PS3.15 A.6). How lines are framed on a connection (RFC 5425, RFC 5426) is the
transport's business: here they are written to a file, one a line."""

from __future__ import annotations

import re
from datetime import UTC, datetime

#: RFC 5424 6.2.1; PS3.15 A.6: security and authorization messages
_FACILITY = 10
_NOTICE, _WARNING = 5, 4
#: PS3.15 A.6
_MESSAGE_ID = "DICOM+RFC3881"
#: RFC 5424 6.4: a message in UTF-8 begins with it
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_NO_NAME = re.compile(r"[^\x21-\x7e]")


def syslog_line(message: str, *, at: datetime, failed: bool, machine: str | None, version: str) -> str:
    """Without a line end; `message` has none either. `machine`: None when nobody knows which one it was."""
    priority = _FACILITY * 8 + (_WARNING if failed else _NOTICE)
    when = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    host = _NO_NAME.sub("-", machine or "")[:255] or "-"
    return f"<{priority}>1 {when} {host} radstream - {_MESSAGE_ID} {_origin(version)} {_BOM}{message}"


def _origin(version: str) -> str:
    """RFC 5424 7.2, an SD-ID that IANA has registered: we have no enterprise number for one of our own."""
    return f'[origin software="radstream" swVersion="{_parameter(version)[:32]}"]'


def _parameter(value: str) -> str:
    """RFC 5424 6.3.3."""
    return re.sub(r'(["\\\]])', r"\\\1", value)

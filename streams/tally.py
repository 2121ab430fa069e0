"""What a role refused or did not use, counted since its start and kept beside its health: `doctor` shows it, and the first
refusal of each sender is an alarm in the log (rule 6)."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from streams.whole_file import write_whole

log = structlog.get_logger()

#: seconds between two writes of the file, and between two alarms about one sender
_WRITE_S, _ALARM_S = 1.0, 60.0
#: senders (and types, and peers) that are told apart; names are cut to so many characters
_TOLD_APART, _NAME = 1000, 200
_OTHERS = "others"

NOT_USED, REJECTED, GARBAGE = "not used", "rejected", "garbage"

#: what was counted -> of whom or what -> reason -> how often
Counts = Mapping[str, Mapping[str, Mapping[str, int]]]


class Tally:
    """Counts of one role in `folder`. Names are senders (MSH-3|MSH-4), message types and hosts: no patient data."""

    def __init__(self, folder: Path, role: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._file = folder / f"{role}.tally"
        self._monotonic = monotonic
        self._counts: dict[str, dict[str, Counter[str]]] = {NOT_USED: {}, REJECTED: {}, GARBAGE: {}}
        self._alarmed: dict[str, float] = {}
        self._written = -_WRITE_S
        self._later: asyncio.TimerHandle | None = None
        self._write()

    def not_used(self, type_and_event: str) -> None:
        """A message that was accepted and that nothing here reads."""
        self._count(NOT_USED, type_and_event, "")

    def rejected(self, sender: str, error: str) -> None:
        """A message of `sender` became a dead letter; `error` is the name of the error's class."""
        name = self._count(REJECTED, sender, error)
        self._alarm(name, error, sum(self._counts[REJECTED][name].values()))

    def garbage(self, host: str, fault: str) -> None:
        """Bytes that are no message."""
        name = self._count(GARBAGE, host, fault)
        self._alarm(name, fault, sum(self._counts[GARBAGE][name].values()))

    def _count(self, what: str, name: str, reason: str) -> str:
        counted = self._counts[what]
        name = name[:_NAME]
        if name not in counted and len(counted) >= _TOLD_APART:
            name = _OTHERS
        counted.setdefault(name, Counter())[reason] += 1
        self._changed()
        return name

    def _alarm(self, sender: str, reason: str, so_far: int) -> None:
        now = self._monotonic()
        if now - self._alarmed.get(sender, -_ALARM_S) >= _ALARM_S:
            self._alarmed[sender] = now
            log.error("alarm", sender=sender, reason=reason, refused_so_far=so_far, advice="radstream dead-letters list")

    def _changed(self) -> None:
        if self._later is not None:
            return
        wait = self._written + _WRITE_S - self._monotonic()
        if wait <= 0:
            self._write()
        else:
            self._later = asyncio.get_running_loop().call_later(wait, self._write)

    def _write(self) -> None:
        self._later = None
        self._written = self._monotonic()
        try:
            write_whole(self._file, json.dumps(self._counts).encode("ascii"), 0o666, sync=False)
        except OSError as error:  # no disk is no reason to lose a message
            log.warning("the tally is not written", file=str(self._file), error=error.strerror)


def read_tallies(folder: Path) -> dict[str, Counts]:
    """The counts of every role since its last start."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.tally"))}

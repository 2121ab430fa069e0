"""How a role is: one small JSON file each under the run folder, replaced atomically.

A file rather than a port: `doctor`, the supervisor and a container's health check read the same words without a network.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from schemas.errors import SettingsInvalid
from streams.whole_file import write_whole

#: starting -> ready <-> paused (a dependency is down; nothing is lost). Ready with a reason: it works, but a person must act. With
#: a note: there is something to know that nobody can mend, or need
STATES = ("starting", "ready", "paused")


@dataclass(frozen=True, slots=True)
class RoleHealth:
    """`reason` is an error text of schemas.errors, which holds no patient data; neither does `note`."""

    role: str
    pid: int
    state: str
    reason: str = ""
    note: str = ""

    @property
    def alive(self) -> bool:
        """Whether the process that wrote this still runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def make_run_folder(folder: Path) -> None:
    """Raises SettingsInvalid when it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsInvalid("settings", "RADSTREAM_RUN_FOLDER", f"{folder} cannot be made: {error.strerror}") from None


class Health:
    """Writes the state of one role; every state only once. Raises SettingsInvalid when another living process has it."""

    def __init__(self, folder: Path, role: str) -> None:
        self._file = folder / f"{role}.json"
        self._role = role
        self._last: RoleHealth | None = None
        make_run_folder(folder)
        other = read_health(folder).get(role)
        if other and other.pid != os.getpid() and other.alive:
            advice = f"process {other.pid} already is this role in {folder}: stop it, or set another RADSTREAM_RUN_FOLDER"
            raise SettingsInvalid("start", role, advice)

    def set(self, state: str, reason: str = "", note: str = "") -> None:
        """Raises ValueError on a state that is none of STATES."""
        if state not in STATES:
            raise ValueError(f"{state!r} is none of {STATES}")
        health = RoleHealth(self._role, os.getpid(), state, reason, note)
        if health == self._last:
            return
        write_whole(self._file, json.dumps(asdict(health)).encode("ascii"), 0o666, sync=False)
        self._last = health


class Shared:
    """Health of a role that does several things at a time: ready when all its parts are, paused while any of them is."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._states: dict[str, tuple[str, str, str]] = {}

    def part(self, name: str) -> Part:
        self._states[name] = ("starting", "", "")
        return Part(self, name)

    def tell(self, name: str, state: str, reason: str, note: str = "") -> None:
        self._states[name] = (state, reason, note)
        states = {one for one, _, _ in self._states.values()}
        whole = next(one for one in ("paused", "starting", "ready") if one in states)
        reasons = "; ".join(f"{part}: {why}" for part, (_, why, _) in self._states.items() if why)
        self._health.set(whole, reasons, "; ".join(f"{part}: {said}" for part, (_, _, said) in self._states.items() if said))


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a role does, to be told like a Health."""

    shared: Shared
    name: str

    def set(self, state: str, reason: str = "", note: str = "") -> None:
        self.shared.tell(self.name, state, reason, note)


def read_health(folder: Path) -> dict[str, RoleHealth]:
    """The last word of every role, dead or alive."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        found[file.stem] = RoleHealth(**json.loads(file.read_text()))
    return found

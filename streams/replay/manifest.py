"""What a replay is: its plan, its models, its settings and how far it came, in a folder of its own. A name is used once.

It may name patients (the selection does): readable by its owner alone."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.acts import Who, Why
from schemas.errors import SettingsInvalid
from schemas.findings import Digest
from schemas.model_events import SandboxName
from streams.replay.plan import Plan
from streams.replay.selection import SpanText
from streams.settings import Settings

#: the last step that is run
Through = Literal["normalise", "correlate", "report"]
#: "running" of one that no process has is one that was killed
ReplayState = Literal["planned", "running", "paused", "done", "failed"]

_FILE, _LOCK, _PAUSE, _REMOVAL = "manifest.json", "lock", "pause", "removal"
_NAME: TypeAdapter[str] = TypeAdapter(SandboxName)


class PinnedModel(BaseModel):
    """The package that speaks for a service in this replay, to the last byte. `gate_sha256`: of the card of the gate before it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str
    weights_sha256: Digest
    card_sha256: Digest | None = None
    gate_sha256: Digest | None = None


class Manifest(BaseModel):
    """`asked`: models that speak here whichever is in use, NAME/VERSION; `models`: what is pinned, by service. `answers`: where the
    answers of then stand. `settings_sha256`: of those settings that decide what the steps say, None: of a version that kept none;
    `radstream`: the version whose steps they are. `records`: inputs that were handled; `written`: records in the sandbox, by the
    plain name of their topic. `failure`: why it failed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: SandboxName
    by: Who
    reason: Why
    planned_at: AwareDatetime
    plan: Plan
    through: Through = "report"
    asked: tuple[str, ...] = ()
    models: Mapping[str, PinnedModel] = Field(default_factory=dict)
    answers: tuple[SpanText, ...] = ()
    settings_sha256: Digest | None = None
    radstream: str = ""
    state: ReplayState = "planned"
    records: Annotated[int, Field(ge=0)] = 0
    written: Mapping[str, int] = Field(default_factory=dict)
    begun_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    failure: str = ""


class ReplayFolder:
    """Of one replay. Raises SettingsInvalid for what is no name."""

    def __init__(self, settings: Settings, name: str) -> None:
        try:
            self.name = _NAME.validate_python(name)
        except ValidationError:
            said = "a name has lower-case letters, digits and single hyphens, at most 40"
            raise SettingsInvalid("replay", name, said) from None
        self.path = _root(settings) / self.name

    def create(self, manifest: Manifest) -> None:
        """Raises SettingsInvalid when the name was used before."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            said = "there is, or was, a replay of this name: resume it (radstream replay resume), or take another one"
            raise SettingsInvalid("replay", self.name, said) from None
        self.write(manifest)

    def read(self) -> Manifest:
        """Raises SettingsInvalid when there is none, or one of another version."""
        try:
            return Manifest.model_validate_json((self.path / _FILE).read_bytes())
        except FileNotFoundError:
            raise SettingsInvalid("replay", self.name, "there is no replay of this name: see radstream replay list") from None
        except ValidationError:
            raise SettingsInvalid("replay", self.name, f"{self.path / _FILE} is not of this version") from None

    def write(self, manifest: Manifest) -> None:
        """Whole or not at all."""
        temporary = self.path / f"{_FILE}.tmp"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(manifest.model_dump_json(indent=2))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / _FILE)

    @property
    def exists(self) -> bool:
        """Also one of another version; not one that was removed."""
        return (self.path / _FILE).exists()

    @property
    def has_begun(self) -> bool:
        """Whether its sandbox is its own. Of one of another version, too; what nobody can read may have begun."""
        try:
            return json.loads((self.path / _FILE).read_bytes()).get("begun_at", "unknown") is not None
        except (ValueError, AttributeError):
            return True

    def begin_removal(self) -> None:
        """From here on it can only be removed."""
        (self.path / _REMOVAL).touch(mode=0o600)

    @property
    def removal_has_begun(self) -> bool:
        return (self.path / _REMOVAL).exists()

    def empty(self) -> None:
        """But for what says that there is something to remove, and who does. Blocking."""
        for file in list(self.path.iterdir()):
            if file.name not in (_FILE, _LOCK, _REMOVAL):
                file.unlink(missing_ok=True)

    def end_removal(self) -> None:
        """The folder itself stays, and with it the name is used."""
        for name in (_FILE, _REMOVAL, _LOCK):
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """By one process at a time. Raises SettingsInvalid."""
        with (self.path / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SettingsInvalid("replay", self.name, "runs already, in another process") from None
            (self.path / _PAUSE).unlink(missing_ok=True)  # what was meant for the one before
            yield

    @property
    def is_held(self) -> bool:
        try:
            with (self.path / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def ask_pause(self) -> None:
        """Whoever runs it sees that within a second."""
        (self.path / _PAUSE).touch(mode=0o600)

    @property
    def pause_is_asked(self) -> bool:
        return (self.path / _PAUSE).exists()


def all_replays(settings: Settings) -> Sequence[ReplayFolder]:
    """By name; what is no replay is passed over."""
    root = _root(settings)
    names = sorted(file.parent.name for file in root.glob(f"*/{_FILE}")) if root.exists() else []
    return [ReplayFolder(settings, name) for name in names]


def _root(settings: Settings) -> Path:
    return settings.run_folder.parent / "replay"

"""What a person asks for, as it was written: kept under a name as a TOML file, so that "the last seven days" means that again next
week. It may hold numbers of patients: readable by its owner alone."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.errors import SettingsInvalid
from schemas.model_events import SandboxName
from streams.asked_moments import asked_moment
from streams.replay.selection import Selection, Start
from streams.settings import Settings
from streams.whole_file import write_whole

_NAME: TypeAdapter[str] = TypeAdapter(SandboxName)

#: by the names of Query and Selection
OPTIONS = {
    "since": "--since",
    "until": "--until",
    "places": "--place",
    "accession_numbers": "--accession",
    "patients": "--patient",
    "senders": "--sender",
    "message_types": "--type",
    "models": "--model",
    "start_at": "--start",
}


class Query(BaseModel):
    """`since`, `until`: as of `asked_moment`; everything else as of Selection, which judges it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    since: str | None = None
    until: str | None = None
    places: tuple[str, ...] = ()
    accession_numbers: tuple[str, ...] = ()
    patients: Annotated[tuple[str, ...], Field(repr=False)] = ()
    senders: tuple[str, ...] = ()
    message_types: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    start_at: Start | None = None

    def selection(self, zone: ZoneInfo, now: datetime) -> Selection:
        """`zone`: of times without an offset. Raises SettingsInvalid that names the option, and no patient."""
        asked = self.model_dump(exclude={"since", "until"})
        moments = {name: _moment(OPTIONS[name], text, zone, now) for name in ("since", "until") if (text := getattr(self, name))}
        try:
            return Selection(**asked, **moments)
        except ValidationError as error:
            raise SettingsInvalid("replay", "what is selected", "; ".join(_advice(error))) from None

    def overruled_by(self, other: Query) -> Query:
        """What the other one says of a kind counts."""
        return self.model_copy(update=other.model_dump(exclude_defaults=True))

    def options(self) -> list[str]:
        """As on the command line."""
        told = self.model_dump(exclude_defaults=True)
        values = {name: list(value) if isinstance(value, (list, tuple)) else [value] for name, value in told.items()}
        return [word for name, option in OPTIONS.items() for value in values.get(name, []) for word in (option, value)]


def _moment(option: str, text: str, zone: ZoneInfo, now: datetime) -> datetime:
    try:
        return asked_moment(text, zone, now)
    except ValueError as error:
        raise SettingsInvalid("replay", option, str(error)) from None


def save(settings: Settings, name: str, query: Query) -> Path:
    """Anew, or in the place of one of that name; returns the file. Raises SettingsInvalid for what is no name, or holds nothing."""
    told = query.model_dump(exclude_defaults=True)
    if not told:
        raise SettingsInvalid("replay", name, "nothing is selected that could be saved")
    file = _file(settings, name)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(file, "".join(f"{key} = {_toml(value)}\n" for key, value in told.items()).encode("utf-8"))
    return file


def load(settings: Settings, name: str) -> Query:
    """Raises SettingsInvalid: there is none of that name, or it is none."""
    file = _file(settings, name)
    try:
        return Query.model_validate(tomllib.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        known = ", ".join(names(settings)) or "none"
        raise SettingsInvalid("replay", name, f"there is no saved query of this name in {file.parent}: {known}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise SettingsInvalid("replay", name, f"{file} is not TOML") from None
    except ValidationError as error:
        raise SettingsInvalid("replay", name, f"{file}: {'; '.join(_advice(error))}") from None


def names(settings: Settings) -> Sequence[str]:
    folder = _folder(settings)
    return sorted(file.stem for file in folder.glob("*.toml")) if folder.exists() else []


def _file(settings: Settings, name: str) -> Path:
    try:
        return _folder(settings) / f"{_NAME.validate_python(name)}.toml"
    except ValidationError:
        said = "a name has lower-case letters, digits and single hyphens, at most 40"
        raise SettingsInvalid("replay", name[:40], said) from None


def _folder(settings: Settings) -> Path:
    return settings.run_folder.parent / "replay" / "queries"


def _toml(value: object) -> str:
    """A string, or a list of strings: JSON, but for what TOML wants escaped beside."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _advice(error: ValidationError) -> list[str]:
    """Each fault by the name of its option; ours need no other words, pydantic's are for programmers."""
    told = []
    for one in error.errors(include_input=False):
        where = str(one["loc"][0]) if one["loc"] else ""
        option = OPTIONS.get(where, where)
        words = one["msg"].removeprefix("Value error, ")
        if one["type"] != "value_error":
            words = _FORMS.get(option, words)
        told.append(f"{option}: {words}" if option else words)
    return list(dict.fromkeys(told))


_FORMS = {
    "--sender": "is written MSH-3|MSH-4, as the key on hl7.v2.raw",
    "--type": "is written as MSH-9: ORM^O01, or ADT for all of its events",
    "--model": "is written NAME/VERSION",
    "--start": "is normalise, correlate or analyse",
}

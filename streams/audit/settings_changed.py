"""At its start the engine compares its settings with those of the last start, and says on `radstream.audit` which are others."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from schemas.acts import SettingsChanged
from schemas.history import History
from schemas.identifiers import identity
from schemas.ports import Clock, EventLog, Place, Record
from streams import topics
from streams.audit.acts import audited
from streams.audit.keyed import hash_key, keyed_hash
from streams.placed import records_at
from streams.settings import Settings, as_environment

#: in the run folder: where the last such act stands on the log
_PLACE_FILE = "last-settings-change"
_Told = tuple[SettingsChanged, Place]


async def audit_settings(log: EventLog, history: History, settings: Settings, *, by: str, clock: Clock) -> SettingsChanged | None:
    """What was written before the engine begins; None: nothing is other than the last time. Raises BrokerUnavailable,
    SettingsInvalid (the key of the hashes)."""
    key = hash_key(settings.audit.hash_key_file)
    about = f"settings.{platform.node()}:{settings.run_folder.resolve()}"
    file = settings.run_folder / _PLACE_FILE
    told, now = await _noted(history, file) or await _last(log, about), _digests(settings, key)
    last = told[0] if told else None
    defaults = _digests(type(settings).model_construct(), key)
    before = defaults if last is None else defaults | last.digests  # what an older version had no name for was as it is by default
    names = {name for name in now.keys() | before.keys() if now.get(name) != before.get(name)}
    reason = "radstream up" if last else "radstream up, the first time: other than the defaults"
    fingerprint = sha256(key).hexdigest()
    if last and last.key != fingerprint:
        names, reason = {*now, *before}, "radstream up; the key of the hashes is another: any of them may have changed"
    if told and not names:
        _note(file, told[1])
        return None
    at = clock.now()
    act = SettingsChanged(
        id=identity("settings-changed", about, at.isoformat()),
        time=at,
        by=by,
        reason=reason,
        names=tuple(sorted(names)),
        digests=now,
        key=fingerprint,
    )
    with suppress(OSError):  # a crash between the act and the note must not leave an older note
        file.unlink(missing_ok=True)
    _note(file, await audited(log, about, act))
    return act


def _digests(settings: Settings, key: bytes) -> dict[str, str]:
    """The environment of another process as it is no setting: it says that no file is read."""
    told = {name: value for name, value in as_environment(settings).items() if name != "RADSTREAM_CONFIG"}
    return {name: keyed_hash(key, "setting", f"{name}={_in_order(value)}") for name, value in sorted(told.items())}


def _in_order(value: str) -> str:
    """A map says the same in any order; text may begin like one ("[::1]:9092")."""
    try:
        return json.dumps(json.loads(value), sort_keys=True) if value[:1] in ("{", "[") else value
    except (ValueError, RecursionError):
        return value


async def _noted(history: History, file: Path) -> _Told | None:
    """The act whose place is noted; None when nothing is, or another stands there: it is another log. The note says only where to
    look, for what was told is on the log; to read all of it at each start takes ever longer."""
    try:
        place = Place.parse(file.read_text("ascii"))
    except (OSError, ValueError):
        return None
    if place is None or place.topic != topics.AUDIT.name:
        return None
    records, _ = await records_at(history, [place])
    act = _act(records[place]) if place in records else None
    return (act, place) if act else None


def _note(file: Path, place: Place) -> None:
    """Without it the next start reads the whole log of acts."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    with suppress(OSError):
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
            written.write(str(place))
        unfinished.replace(file)


def _act(record: Record) -> SettingsChanged | None:
    if record.header("ce_type") != SettingsChanged.TYPE:
        return None
    try:
        return SettingsChanged.model_validate_json(record.value)
    except ValidationError:
        return None  # of another version of radstream: its names can be compared with nothing


async def _last(log: EventLog, about: str) -> _Told | None:
    """Of this engine; where it was never told (a container has another host name each time), of any."""
    own = anybodys = None
    async for record in log.read(topics.AUDIT.name):
        if act := _act(record):
            anybodys = act, record.place
            own = anybodys if record.key == about.encode() else own
    return own or anybodys

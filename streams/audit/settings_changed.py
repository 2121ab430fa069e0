"""At its start the engine compares its settings with those of the last start, and says on `radstream.audit` which are others."""

from __future__ import annotations

import json
import platform
from hashlib import sha256

from pydantic import ValidationError

from schemas.acts import SettingsChanged
from schemas.identifiers import identity
from schemas.ports import Clock, EventLog
from streams import topics
from streams.audit.acts import audited
from streams.audit.keyed import hash_key, keyed_hash
from streams.settings import Settings, as_environment


async def audit_settings(log: EventLog, settings: Settings, *, by: str, clock: Clock) -> SettingsChanged | None:
    """What was written before the engine begins; None: nothing is other than the last time. Raises BrokerUnavailable,
    SettingsInvalid (the key of the hashes)."""
    key = hash_key(settings.audit.hash_key_file)
    about = f"settings.{platform.node()}:{settings.run_folder.resolve()}"
    last, now = await _last(log, about), _digests(settings, key)
    before = last.digests if last else _digests(type(settings).model_construct(), key)
    names = {name for name in now.keys() | before.keys() if now.get(name) != before.get(name)}
    reason = "radstream up" if last else "radstream up, the first time: other than the defaults"
    fingerprint = sha256(key).hexdigest()
    if last and last.key != fingerprint:
        names, reason = {*now, *before}, "radstream up; the key of the hashes is another: any of them may have changed"
    if last and not names:
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
    await audited(log, about, act)
    return act


def _digests(settings: Settings, key: bytes) -> dict[str, str]:
    """The environment of another process as it is no setting: it says that no file is read."""
    told = {name: value for name, value in as_environment(settings).items() if name != "RADSTREAM_CONFIG"}
    return {name: keyed_hash(key, "setting", f"{name}={_in_order(value)}") for name, value in sorted(told.items())}


def _in_order(value: str) -> str:
    """A map says the same in any order; text may begin like one ("[::1]:9092")."""
    try:
        return json.dumps(json.loads(value), sort_keys=True) if value[:1] in ("{", "[") else value
    except ValueError:
        return value


async def _last(log: EventLog, about: str) -> SettingsChanged | None:
    """Of this engine; where it was never told (a container has another host name each time), of any."""
    own = anybodys = None
    async for record in log.read(topics.AUDIT.name):
        if record.header("ce_type") != SettingsChanged.TYPE:
            continue
        try:
            anybodys = SettingsChanged.model_validate_json(record.value)
        except ValidationError:
            continue  # of another version of radstream: its names can be compared with nothing
        own = anybodys if record.key == about.encode() else own
    return own or anybodys

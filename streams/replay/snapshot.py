"""How far a replay is: its own case store, and in the same file the rest of what it goes on from. What is killed goes on from there
and not from the work file, which may be anywhere between two records."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from connectors.case_store import SqlCaseStore
from connectors.case_store.copying import copy_database, remove_database
from schemas.ports import Outgoing
from streams.replay.cascade import Coming

_WORK, _SNAPSHOT = "work.db", "snapshot.db"
#: the name under which the store keeps it
_SOURCE = "replay"


class Waiting(BaseModel):
    """An answer that is still to come, as it is kept."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    number: int
    topic: str
    key: str | None
    value: str
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, coming: Coming) -> Waiting:
        out = coming.out
        headers = tuple((name, _text(value)) for name, value in out.headers)
        key = None if out.key is None else _text(out.key)
        return cls(at=coming.at, number=coming.number, topic=out.topic, key=key, value=_text(out.value), headers=headers)

    def coming(self) -> Coming:
        key = None if self.key is None else base64.b64decode(self.key)
        headers = tuple((name, base64.b64decode(value)) for name, value in self.headers)
        return Coming(self.at, self.number, Outgoing(self.topic, key, base64.b64decode(self.value), headers))


class State(BaseModel):
    """`done`: inputs; `positions`: TOPIC/PARTITION -> the offset behind the last of them; `put`: see Outbox; `unexpected`: see
    Cascade."""

    model_config = ConfigDict(frozen=True)

    done: int = 0
    positions: Mapping[str, int] = Field(default_factory=dict)
    now: datetime | None = None
    put: Mapping[str, int] = Field(default_factory=dict)
    coming: tuple[Waiting, ...] = ()
    number: int = 0
    unexpected: Mapping[str, int] = Field(default_factory=dict)

    @property
    def offsets(self) -> dict[tuple[str, int], int]:
        """As `Plan.inputs` takes them."""
        named = {name.rpartition("/"): offset for name, offset in self.positions.items()}
        return {(topic, int(partition)): offset for (topic, _, partition), offset in named.items()}


class Snapshots:
    """In the folder of one replay, which one process has at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store: SqlCaseStore | None = None

    async def begin(self) -> tuple[SqlCaseStore, State]:
        """The work file as the last snapshot was, and how far that is; the store is for whoever calls to close. Raises
        StoreUnavailable."""
        work, snapshot = self._folder / _WORK, self._folder / _SNAPSHOT
        await asyncio.to_thread(remove_database, work)
        if snapshot.exists():
            await asyncio.to_thread(copy_database, snapshot, work)
        self._store = SqlCaseStore(f"sqlite:///{work}", durable=False)
        told = await self._store.position(_SOURCE)
        return self._store, State() if told is None else State.model_validate_json(told)

    async def keep(self, state: State) -> None:
        """To be called when everything that was put is on the log. Raises StoreUnavailable."""
        assert self._store is not None
        await self._store.put_position(_SOURCE, state.model_dump_json())
        await asyncio.to_thread(copy_database, self._folder / _WORK, self._folder / _SNAPSHOT)

    def remove(self) -> None:
        """Both files. Blocking."""
        for name in (_WORK, _SNAPSHOT):
            remove_database(self._folder / name)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")

"""Packages of models by reference, NAME/VERSION: in a folder, or on an object store from which each is copied once.

Only as much of a card is read here as is needed to know what belongs to the package; models.registry has the rest."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import re
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import structlog

from schemas.errors import AccessRefused, ModelFailed, ObjectStoreUnavailable, SettingsInvalid
from schemas.ports import ObjectStore

_log = structlog.get_logger(__name__)

CARD = "card.toml"
REFERENCE = re.compile(r"[a-z0-9-]+/[0-9A-Za-z][0-9A-Za-z.-]*")
#: tables of a card that name a file of the package
_PARTS = ("weights", "program")


class PackageStore(Protocol):
    """Where packages are."""

    async def folder(self, reference: str) -> Path:
        """The package's folder on this machine. Raises SettingsInvalid: there is none of that reference, which ones there are is
        said; ModelFailed: it is not whole; ObjectStoreUnavailable, AccessRefused."""
        ...

    async def references(self) -> Sequence[str]:
        """Of all packages there are. Raises ObjectStoreUnavailable, AccessRefused."""
        ...


class PackageFolder:
    """A folder of this machine, used as it is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def folder(self, reference: str) -> Path:
        """See `PackageStore.folder`."""
        found = self._folder / reference
        if not REFERENCE.fullmatch(reference) or not await asyncio.to_thread((found / CARD).is_file):
            raise _absent(reference, await self.references())
        return found

    async def references(self) -> Sequence[str]:
        """See `PackageStore.references`."""
        cards = await asyncio.to_thread(lambda: list(self._folder.glob(f"*/*/{CARD}")))
        return _references(card.relative_to(self._folder).as_posix() for card in cards)


class CopiedPackages:
    """An object store, and copies of what was asked for in `copies`: whole or not at all, and the store's as often as it is asked.
    While the store is away a whole copy will do: what was approved is known by its digest."""

    def __init__(self, objects: ObjectStore, copies: Path) -> None:
        self._objects = objects
        self._copies = copies

    async def folder(self, reference: str) -> Path:
        """See `PackageStore.folder`."""
        copy = self._copies / reference
        try:
            return await self._copied(reference, copy)
        except (ObjectStoreUnavailable, AccessRefused) as error:
            if not await asyncio.to_thread(_is_whole, copy, reference):
                raise
            _log.warning("packages are away: a copy is used", model=reference, error=str(error))
            return copy

    async def references(self) -> Sequence[str]:
        """See `PackageStore.references`."""
        return _references(await self._objects.names())

    async def _copied(self, reference: str, copy: Path) -> Path:
        card = await self._objects.get(f"{reference}/{CARD}") if REFERENCE.fullmatch(reference) else None
        if card is None:
            raise _absent(reference, await self.references())
        files = files_of(card, reference)
        if await asyncio.to_thread(_is, copy, card, files):
            return copy
        contents = {}
        for name, digest in files.items():
            content = await self._objects.get(f"{reference}/{name}")
            if content is None:
                raise ModelFailed("fetch", reference, f"{name} is missing in the store: put the package there again, whole")
            if hashlib.sha256(content).hexdigest() != digest:
                raise ModelFailed("fetch", reference, f"{name} in the store does not have the card's SHA-256: put it there again")
            contents[name] = content
        try:
            await asyncio.to_thread(_put, copy, card, contents)
        except OSError as error:
            said = f"no copy of {reference} can be put there: {error.strerror}"
            raise SettingsInvalid("settings", "RADSTREAM_MODELS__COPIES", said) from None
        return copy


def files_of(card: bytes, reference: str) -> Mapping[str, str]:
    """The files that a card names, each with its SHA-256. Raises SettingsInvalid."""
    try:
        tables: dict[str, Any] = tomllib.loads(card.decode("utf-8"))
        parts = [tables[part] for part in _PARTS if part in tables]
        files = {str(part["file"]): str(part["sha256"]) for part in parts}
    except (ValueError, KeyError, TypeError):
        raise SettingsInvalid("fetch", reference, f"{CARD} does not say which files there are: correct the card") from None
    if any(Path(name).name != name or name[:1] in ("", ".") or name == CARD for name in files):
        raise SettingsInvalid("fetch", reference, f"{CARD} names a file outside the package: correct the card")
    return files


def _references(cards: Iterable[str]) -> list[str]:
    """Of what lies NAME/VERSION/card.toml, and nowhere else."""
    return sorted(filter(REFERENCE.fullmatch, (card.removesuffix(f"/{CARD}") for card in cards if card.endswith(f"/{CARD}"))))


def _absent(reference: str, there: Sequence[str]) -> SettingsInvalid:
    which = f"there are {', '.join(there)}" if there else "there is none at all"
    return SettingsInvalid("load", reference, f"there is no such package; {which}: see RADSTREAM_MODELS__URL")


def _is_whole(copy: Path, reference: str) -> bool:
    try:
        card = (copy / CARD).read_bytes()
        return _is(copy, card, files_of(card, reference))
    except (OSError, SettingsInvalid):
        return False


def _is(copy: Path, card: bytes, files: Mapping[str, str]) -> bool:
    """Whether the copy is of this card, and whole."""
    try:
        return (copy / CARD).read_bytes() == card and all(digest_of(copy / name) == digest for name, digest in files.items())
    except OSError:
        return False


def digest_of(file: Path) -> str:
    """SHA-256. Raises OSError."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _put(copy: Path, card: bytes, files: Mapping[str, bytes]) -> None:
    """Several processes may do this at a time: under the lock the first one does, the others find it done."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    with (
        (copy.parent / ".lock").open("w") as lock,
        tempfile.TemporaryDirectory(prefix=".", dir=copy.parent, ignore_cleanup_errors=True) as work,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is(copy, card, {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}):
            return
        whole = Path(work, "whole")
        whole.mkdir()
        for name, content in ((CARD, card), *files.items()):
            (whole / name).write_bytes(content)
        if copy.exists():
            copy.rename(Path(work, "before"))
        whole.rename(copy)

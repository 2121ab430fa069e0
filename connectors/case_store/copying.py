"""A copy of an SQLite case store, whole or not at all."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from schemas.errors import StoreUnavailable

#: of a database in WAL mode, beside its file
_BESIDE = ("-wal", "-shm")


def copy_database(source: Path, target: Path) -> None:
    """`target` is what `source` holds now: as it was, or whole, also when the power goes. Blocking. Raises StoreUnavailable."""
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        remove_database(temporary)
        with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(temporary)) as written:
            read.backup(written)
            written.execute("PRAGMA journal_mode=DELETE").fetchall()  # one file, that can be renamed
        temporary.chmod(0o600)
        _to_disk(temporary)
        temporary.replace(target)
        _to_disk(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable("store", target.name, f"cannot be copied: {type(error).__name__}") from None


def remove_database(file: Path) -> None:
    """Harmless when there is none. Raises OSError."""
    for path in (file, *(file.with_name(file.name + end) for end in _BESIDE)):
        path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

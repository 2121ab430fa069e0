"""A file that is there whole or not at all: written beside its place under a name that nobody guesses, then given its own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(file: Path, mode: int = 0o600, *, replace: bool = True, sync: bool = True) -> Iterator[BinaryIO]:
    """It takes its place at the end of the block; when the block raises, nothing has happened. `mode`: of the file, less the umask.
    `replace`: without it what stands there is kept. `sync`: it is on the disk before it has its name, so that it is whole after a
    crash of the machine too. Raises OSError (FileExistsError: without `replace`)."""
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(opened, "wb") as written:
            yield written
            written.flush()
            if sync:
                os.fsync(written.fileno())
        if replace:
            unfinished.replace(file)
        else:
            os.link(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(file: Path, content: bytes, mode: int = 0o600, *, replace: bool = True, sync: bool = True) -> None:
    """All of it at once; as `whole_file`."""
    with whole_file(file, mode, replace=replace, sync=sync) as written:
        written.write(content)

"""The notary's own copy of its checkpoints, outside the broker: a line each, exactly the value on the topic."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import Refused, StoreUnavailable


class CheckpointFileChanged(Refused):
    """Somebody else wrote to the file."""


class CheckpointFile:
    """For its one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: bytes of all whole lines; None: not read yet
        self._length: int | None = None
        self._torn = False

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Whether it is ours until the end of the block: no other process on this machine writes to it. The lock ends with the
        process, however that ends. Raises StoreUnavailable."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_name(f"{self.path.name}.lock").open("ab")
        except OSError as error:
            raise StoreUnavailable("audit", str(self.path), error.strerror or "cannot be locked") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                ours = False
            except OSError as error:
                said = f"cannot be locked: {error.strerror}; the file must lie on a file system with locks"
                raise StoreUnavailable("audit", str(self.path), said) from None
            else:
                ours = True
            yield ours

    def read(self, size: int | None = None) -> tuple[list[bytes], bytes, bool]:
        """Lines of the last `size` bytes (None: all); what stands behind the last line end, one that was not written whole; and
        whether those are all. No file: no lines. From now on `append` writes behind the last whole line, over what is torn. Raises
        StoreUnavailable."""
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                begin = 0 if size is None else max(0, end - size)
                file.seek(begin)
                *lines, torn = file.read(end - begin).split(b"\n")
        except FileNotFoundError:
            lines, torn, begin, end = [], b"", 0, 0
        except OSError as error:
            raise StoreUnavailable("audit", str(self.path), error.strerror or "cannot be read") from None
        self._length, self._torn = end - len(torn), bool(torn)
        return lines[1:] if begin else lines, torn, begin == 0

    def looks(self) -> object:
        """Other than before when somebody wrote to it. Raises StoreUnavailable."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable("audit", str(self.path), error.strerror or "cannot be read") from None
        return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns

    def append(self, values: Sequence[bytes]) -> None:
        """On the disk when it returns. Raises StoreUnavailable, and then may be called again; CheckpointFileChanged."""
        assert self._length is not None
        content = b"".join(value + b"\n" for value in values)
        try:
            new = not self.path.exists()
            with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
                size = file.seek(0, os.SEEK_END)
                if size < self._length or (size > self._length and not self._torn):
                    raise CheckpointFileChanged("audit", str(self.path), "was changed by somebody else")
                self._torn = True
                file.truncate(self._length)
                file.seek(self._length)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if new:
                _keep_entry(self.path.parent)
        except OSError as error:
            raise StoreUnavailable("audit", str(self.path), error.strerror or "cannot be written") from None
        self._length += len(content)
        self._torn = False


def _keep_entry(folder: Path) -> None:
    """A new file is there after a power failure only when its folder is on the disk too."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

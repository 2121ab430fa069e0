"""Numbers of patients on the audit: as hashes that only whoever holds the key can compare with a number."""

from __future__ import annotations

import hmac
import secrets
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Literal

from schemas.errors import SettingsInvalid
from streams.whole_file import write_whole

#: bytes (RFC 2104: at least as many as the digest has)
_KEY_SIZE = 32
_NAME = "RADSTREAM_AUDIT__HASH_KEY_FILE"


def hash_key(file: Path) -> bytes:
    """The key in the file: one line, 64 hexadecimal digits. A file that is absent is made, readable by its owner alone: a key that
    is lost makes every hash before it unreadable, so it is kept like a key of signatures, and several machines share one. Raises
    SettingsInvalid when it is no key, cannot be read or cannot be made."""
    try:
        return _read(file) if file.exists() else _made(file)
    except ValueError:
        raise SettingsInvalid("audit", _NAME, f"{file} holds no key: one line of 64 hexadecimal digits") from None
    except OSError as error:
        raise SettingsInvalid("audit", _NAME, f"{file} cannot be read or made: {error.strerror}") from None


def _read(file: Path) -> bytes:
    key = bytes.fromhex(file.read_text("ascii").strip())
    if len(key) != _KEY_SIZE:
        raise ValueError("no key")
    return key


def _made(file: Path) -> bytes:
    """Two that begin at once must end with one key."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):  # another was faster: its key is the one
        write_whole(file, f"{secrets.token_hex(_KEY_SIZE)}\n".encode("ascii"), replace=False)
    return _read(file)


def keyed_hash(key: bytes, kind: Literal["accession-number", "patient", "setting"], value: str) -> str:
    """HMAC-SHA-256 (RFC 2104), hexadecimal. The kind is hashed too: one number is not recognised as another of its digits."""
    return hmac.new(key, f"{kind}|{value}".encode(), sha256).hexdigest()


def hashed_accession_number(key: bytes, accession_number: str) -> str:
    """Of the number alone, without its assigner (`VALUE^ASSIGNER`): who asked for either has asked for the same study."""
    return keyed_hash(key, "accession-number", accession_number.partition("^")[0].strip())

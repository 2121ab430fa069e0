"""Who signs checkpoints, and whose signatures are believed: Ed25519 (RFC 8032), keys in PEM files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from pydantic import ValidationError

from schemas.checkpoints import CheckpointSigned
from schemas.errors import MalformedMessage, SettingsInvalid
from schemas.identifiers import identity
from streams.whole_file import write_whole

#: by the SHA-256 of the key
Keys = Mapping[str, Ed25519PublicKey]

#: until it is signed
UNSIGNED_ID = UUID(int=0)
KEY_SETTING = "RADSTREAM_AUDIT__KEY_FILE"
_SIGNATURE = re.compile(rb',"signature":"[0-9a-f]{128}"\}\Z')


def public_file(key_file: Path) -> Path:
    """Beside the key, to be given to whoever verifies."""
    return key_file.with_suffix(".pub")


def name_of(key: Ed25519PublicKey) -> str:
    """As checkpoints name it."""
    return sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


class Signer:
    """Holds the private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.keys: Keys = {name_of(key.public_key()): key.public_key()}

    @property
    def name(self) -> str:
        """Of its public key, as checkpoints name it."""
        return next(iter(self.keys))

    def signed(self, unsigned: CheckpointSigned) -> CheckpointSigned:
        """The same under this key, whatever `key`, `id` and `signature` were. The same checkpoint is always signed the same."""
        told = {"key": self.name, "id": identity("checkpoint", self.name, str(unsigned.number), unsigned.previous, unsigned.chain)}
        named = unsigned.model_copy(update=told)
        signature = self._key.sign(_signed_part(value_of(named)))
        return named.model_copy(update={"signature": signature.hex()})


def value_of(checkpoint: CheckpointSigned) -> bytes:
    """As it stands on the topic, and as a line in the file."""
    return checkpoint.model_dump_json().encode("utf-8")


def opened(value: bytes, keys: Keys, place: str) -> CheckpointSigned:
    """The checkpoint in a value. Raises MalformedMessage, which says what is wrong with it: not one byte may differ from what one
    of `keys` has signed."""
    try:
        checkpoint = CheckpointSigned.model_validate_json(value)
    except ValidationError:
        raise MalformedMessage("audit", place, "is no checkpoint") from None
    key = keys.get(checkpoint.key)
    if key is None:
        raise MalformedMessage("audit", place, f"is signed with another key ({checkpoint.key[:16]}...)")
    try:
        key.verify(bytes.fromhex(checkpoint.signature), _signed_part(value))
    except (InvalidSignature, ValueError):
        raise MalformedMessage("audit", place, "is not what was signed") from None
    return checkpoint


def _signed_part(value: bytes) -> bytes:
    """Raises ValueError when the signature does not stand at the end, as we write it."""
    found = _SIGNATURE.search(value)
    if found is None:
        raise ValueError("no signature at the end")
    return value[: found.start()] + b"}"


def signer_of(file: Path) -> Signer:
    """The key in `file`. Where there is neither it nor its public key both are made, readable for their owner alone. Raises
    SettingsInvalid."""
    public = public_file(file)
    try:
        if not file.exists() and public.exists():
            advice = f"{file} is gone, and {public} is not: bring it back; or move {public} away (keep it) for a new key"
            raise SettingsInvalid("audit", KEY_SETTING, advice)
        if not file.exists():
            _make(file)
        key = load_pem_private_key(file.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsInvalid("audit", KEY_SETTING, f"{file} is no Ed25519 key")
        if not public.exists():
            write_whole(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except OSError as error:
        raise SettingsInvalid("audit", KEY_SETTING, f"{file}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsInvalid("audit", KEY_SETTING, f"{file} is no PEM file of an Ed25519 key without a password") from None
    signer = Signer(key)
    if list(public_keys([public])) != [signer.name]:
        raise SettingsInvalid("audit", KEY_SETTING, f"{public} is not the public key of {file}")
    return signer


def public_keys(files: Iterable[Path]) -> Keys:
    """Of PEM files. Raises SettingsInvalid."""
    found = {}
    for file in files:
        try:
            key = load_pem_public_key(file.read_bytes())
        except OSError as error:
            advice = "it lies beside the notary's key, where the notary has run; or name it: --public-key FILE"
            raise SettingsInvalid("audit", "public key", f"{file}: {error.strerror}: {advice}") from None
        except (ValueError, UnsupportedAlgorithm):
            raise SettingsInvalid("audit", "public key", f"{file} is no PEM file of a public key") from None
        if not isinstance(key, Ed25519PublicKey):
            raise SettingsInvalid("audit", "public key", f"{file} is no Ed25519 key")
        found[name_of(key)] = key
    return found


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    with suppress(FileExistsError):  # another was faster: its key is the one
        write_whole(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), replace=False)

"""Keys are files; a checkpoint is believed only as it was signed, byte for byte."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from schemas.checkpoints import CheckpointSigned
from schemas.errors import MalformedMessage, SettingsInvalid
from streams import topics
from streams.audit.signing import UNSIGNED_ID, Signer, opened, public_keys, signer_of, value_of
from streams.emission import emit

UNSIGNED = CheckpointSigned(
    id=UNSIGNED_ID,
    time=datetime(2026, 11, 30, tzinfo=UTC),
    topic="ai.results",
    partition=2,
    first=3,
    end=9,
    records=6,
    chain="a" * 64,
    number=1,
    previous="0" * 64,
    key="0" * 64,
    signature="0" * 128,
)


@pytest.fixture
def signer() -> Signer:
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))


def test_what_was_signed_is_opened(signer: Signer) -> None:
    signed = signer.signed(UNSIGNED)
    assert opened(value_of(signed), signer.keys, "here") == signed
    assert signed.key == signer.name and signed.id != UNSIGNED_ID
    assert signer.signed(UNSIGNED) == signed, "the same is signed the same, however often"
    assert emit(topics.CHECKPOINTS, "ai.results/2", signed, None).value == value_of(signed), "the topic holds what the file holds"


def test_anybody_can_check_the_signature_with_the_bytes_of_the_value(signer: Signer) -> None:
    value = value_of(signer.signed(UNSIGNED))
    told = json.loads(value)
    assert list(told)[-1] == "signature"
    without = value.replace(f',"signature":"{told["signature"]}"'.encode(), b"")
    signer.keys[signer.name].verify(bytes.fromhex(told["signature"]), without)


def test_not_one_byte_may_differ(signer: Signer) -> None:
    value = value_of(signer.signed(UNSIGNED))
    for at in range(len(value)):
        for other in (value[at] ^ 1, value[at] ^ 0x20):
            with pytest.raises(MalformedMessage):
                opened(value[:at] + bytes([other]) + value[at + 1 :], signer.keys, "here")
    for other_value in (b"", b"{}", value[:-1], value + b" ", b" " + value, value.replace(b",", b", ", 1), b"\xff"):
        with pytest.raises(MalformedMessage):
            opened(other_value, signer.keys, "here")


def test_another_key_is_named(signer: Signer) -> None:
    other = Signer(Ed25519PrivateKey.from_private_bytes(b"1" * 32))
    with pytest.raises(MalformedMessage, match=f"another key .{other.name[:16]}"):
        opened(value_of(other.signed(UNSIGNED)), signer.keys, "here")
    forged = value_of(signer.signed(UNSIGNED).model_copy(update={"signature": other.signed(UNSIGNED).signature}))
    with pytest.raises(MalformedMessage, match="not what was signed"):
        opened(forged, signer.keys, "here")


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "audit" / "notary.key"
    signer = signer_of(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert signer_of(file).name == signer.name
    assert dict(public_keys([tmp_path / "audit" / "notary.pub"])) == dict(signer.keys)
    (tmp_path / "audit" / "notary.pub").unlink()
    assert signer_of(file).name == signer.name and (tmp_path / "audit" / "notary.pub").exists()
    assert sorted(one.name for one in (tmp_path / "audit").iterdir()) == ["notary.key", "notary.pub"]


def test_a_key_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "notary.key"
    signer_of(file)
    public = (tmp_path / "notary.pub").read_bytes()
    file.unlink()
    with pytest.raises(SettingsInvalid, match=r"notary\.key is gone.*bring it back"):
        signer_of(file)
    assert not file.exists() and (tmp_path / "notary.pub").read_bytes() == public


def test_what_is_no_key_is_told(tmp_path: Path) -> None:
    file, pem, pkcs8 = tmp_path / "notary.key", Encoding.PEM, PrivateFormat.PKCS8
    own = Ed25519PrivateKey.generate()
    other_kind = ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, pkcs8, NoEncryption())
    for content in (b"", b"no key", other_kind, own.private_bytes(pem, pkcs8, BestAvailableEncryption(b"secret"))):
        file.write_bytes(content)
        with pytest.raises(SettingsInvalid, match="RADSTREAM_AUDIT__KEY_FILE"):
            signer_of(file)
    file.write_bytes(own.private_bytes(pem, pkcs8, NoEncryption()))
    (tmp_path / "notary.pub").write_bytes(
        Ed25519PrivateKey.generate().public_key().public_bytes(pem, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(SettingsInvalid, match="not the public key"):
        signer_of(file)
    for content in (
        b"",
        other_kind,
        ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(pem, PublicFormat.SubjectPublicKeyInfo),
    ):
        (tmp_path / "other.pub").write_bytes(content)
        with pytest.raises(SettingsInvalid, match=r"other\.pub"):
            public_keys([tmp_path / "other.pub"])
    with pytest.raises(SettingsInvalid, match=r"--public-key"):
        public_keys([tmp_path / "absent.pub"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsInvalid):
        signer_of(tmp_path / "folder")

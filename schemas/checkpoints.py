"""What the notary signed: an event on `radstream.checkpoints`. Key: TOPIC/PARTITION.

The chain of a partition: h = SHA-256(h before, offset and every byte of the record), from 32 zero bytes before its first record. So
whoever has `chain` finds any record before `end` that was removed, changed, reordered or put in."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from schemas.events import Event
from schemas.findings import Digest


class CheckpointSigned(Event):
    """`end`: the offset behind the last record that `chain` holds; `first`: the one where the chain began; `records`: how many it
    holds. `number` counts the checkpoints under one key, all partitions together, from 1; `previous` is the SHA-256 of the value of
    the one before (64 zeros: none), so that none can be taken out. `key`: SHA-256 of the public key (its 32 bytes, RFC 8032).
    `signature`: hexadecimal, Ed25519 over the bytes of the value without the signature, which is the last member."""

    TYPE: ClassVar[str] = "org.radstream.checkpoint.signed.v1"
    topic: str
    partition: Annotated[int, Field(ge=0)]
    first: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]
    records: Annotated[int, Field(ge=0)]
    chain: Digest
    number: Annotated[int, Field(ge=1)]
    previous: Digest
    key: Digest
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]

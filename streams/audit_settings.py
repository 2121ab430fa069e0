"""Settings of the audit: the notary's key, its file, and how often it signs; the key of the hashes that stand for patients."""

from __future__ import annotations

from pathlib import Path

from streams.section import Seconds, Section


class AuditSettings(Section):
    #: its private key, made at the first start; its public key lies beside it (.pub)
    key_file: Path = Path("var/audit/notary.key")
    #: a copy of radstream.checkpoints outside the broker
    checkpoint_file: Path = Path("var/audit/checkpoints.jsonl")
    #: between two looks for what is new; None: there is no notary
    checkpoint_interval_s: Seconds | None = 60.0
    #: of the hashes that stand for patients' numbers in acts: made when it is absent
    hash_key_file: Path = Path("var/audit/hash.key")

"""Certificates of a hospital that exists only in tests, made by openssl(1)."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


class Authority:
    """Signs certificates for 127.0.0.1 and localhost."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self.certificate = folder / f"{name}-ca.pem"
        self._key = folder / f"{name}-ca.key"
        _openssl(
            *_NEW, "-x509", "-days", "2", "-subj", f"/CN={name} authority", "-keyout", self._key, "-out", self.certificate
        )  # fmt: skip

    def sign(self, name: str) -> Pair:
        pair = Pair(self._folder / f"{self._name}-{name}.pem", self._folder / f"{self._name}-{name}.key")
        _openssl(
            *_NEW, "-x509", "-days", "2", "-subj", f"/CN={name}", "-CA", self.certificate, "-CAkey", self._key,
            "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-addext", "basicConstraints=critical,CA:false",
            "-keyout", pair.key, "-out", pair.certificate,
        )  # fmt: skip
        return pair


_NEW = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)

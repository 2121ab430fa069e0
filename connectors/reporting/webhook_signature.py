"""Signatures of Standard Webhooks (standardwebhooks.com, specification 1.0.0): who sent it, that nobody changed it, and when."""

from __future__ import annotations

import base64
import binascii
import contextlib
from datetime import UTC, datetime
from pathlib import Path

from standardwebhooks import Webhook

from schemas.errors import SettingsInvalid

_PREFIX = "whsec_"
#: "Signature scheme": between 24 bytes (192 bits) and 64 bytes (512 bits)
_SECRET_BYTES = range(24, 65)


class SigningSecrets:
    """What a file holds: one secret a line, `whsec_` and base64. With two of them each message has two signatures, so that the
    receiver can go from the old one to the new one at any time."""

    def __init__(self, file: Path) -> None:
        """Raises SettingsInvalid when the file holds no secret."""
        self._file = file
        self._last = _secrets(file)

    def headers(self, id: str, at: datetime, body: bytes) -> dict[str, str]:
        """Those that prove `body`. The file is read each time; while it cannot be used (it is just being written, say) what it held
        last is."""
        with contextlib.suppress(SettingsInvalid):
            self._last = _secrets(self._file)
        content = body.decode("utf-8")
        return {
            "webhook-id": id,
            "webhook-timestamp": str(int(at.timestamp())),
            # its `sign` takes whatever time it is given for UTC
            "webhook-signature": " ".join(secret.sign(id, at.astimezone(UTC), content) for secret in self._last),
        }


def _secrets(file: Path) -> tuple[Webhook, ...]:
    try:
        lines = file.read_text("ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise SettingsInvalid("webhook", "secret_file", f"{file} cannot be read: {why}") from None
    if not lines:
        raise SettingsInvalid("webhook", "secret_file", f"{file} is empty")
    return tuple(_secret(line, file) for line in lines)


def _secret(line: str, file: Path) -> Webhook:
    try:
        if not line.startswith(_PREFIX):
            raise ValueError
        text = line.removeprefix(_PREFIX)
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise SettingsInvalid("webhook", "secret_file", f"{file}: a line is not whsec_ and base64") from None
    if len(key) not in _SECRET_BYTES:
        why = f"{file}: a secret of {len(key)} bytes; Standard Webhooks wants 24 to 64"
        raise SettingsInvalid("webhook", "secret_file", why)
    return Webhook(key)

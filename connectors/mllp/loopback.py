"""Plain MLLP carries names and numbers in the clear: it stays on this machine unless somebody says otherwise."""

from __future__ import annotations

import ipaddress

from schemas.errors import SettingsInvalid


def require_loopback(host: str, who: str) -> None:
    """Raises SettingsInvalid for anything but localhost and the loopback addresses."""
    try:
        inside = ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = host == "localhost"
    if not inside:
        raise SettingsInvalid(
            "settings", who, "plain text beyond loopback is refused unless allow_plaintext_beyond_loopback is set"
        )

"""What an archive asks before it answers: a bearer token, a password or OAuth 2.0 client credentials, and certificates."""

from __future__ import annotations

import base64
import contextlib
from dataclasses import dataclass
from pathlib import Path

import requests

from connectors.http_access import Authorization, HttpAccess, bearer_token, examine_certificates, prepare, secret_of
from schemas.errors import ArchiveUnavailable, SettingsInvalid


@dataclass(frozen=True, slots=True)
class ArchiveAccess:
    """Files only, never a secret. `token_file` holds a bearer token (RFC 6750); or `user` and `password_file` are for HTTP basic
    authentication (RFC 7617), as Orthanc's own. `tls_ca` is PEM of the authorities of the archive's certificate, None: those that
    `requests` brings; `tls_certificate` and `tls_key` are shown to an archive that asks (mutual TLS). `oauth2` has a token
    endpoint in the place of the first three."""

    token_file: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    oauth2: HttpAccess | None = None

    def examine(self) -> None:
        """Raises SettingsInvalid when a file cannot be used."""
        self.authorization()
        if self.oauth2 is not None:
            self.oauth2.examine("archive")
        examine_certificates("archive", self.tls_ca, self.tls_certificate, self.tls_key)

    def prepare(self, session: requests.Session) -> None:
        """See `http_access.prepare`."""
        prepare(session, self.tls_ca, self.tls_certificate, self.tls_key)

    def authorization(self) -> bytes | None:
        """The header of that name, from what the file holds now. Raises SettingsInvalid."""
        try:
            if self.token_file is not None:
                return b"Bearer " + bearer_token(self.token_file).encode("ascii")
            if self.user is not None and self.password_file is not None:
                return b"Basic " + base64.b64encode(self.user.encode("utf-8") + b":" + secret_of(self.password_file))
        except ValueError as error:
            raise SettingsInvalid("archive", "credentials", str(error)) from None
        return None


class Credentials:
    """The header of an exchange, from a file that may be replaced while the engine runs: each exchange reads it anew; or with a
    token of the token endpoint, which serves several."""

    def __init__(self, access: ArchiveAccess) -> None:
        """Raises SettingsInvalid when a file cannot be used."""
        access.examine()
        self._access = access
        self._last = access.authorization()
        self._oauth2 = None if access.oauth2 is None else Authorization(access.oauth2, "archive", ArchiveUnavailable)

    def header(self, timeout_s: float) -> bytes | None:
        """While the file cannot be used (it is just being written, say) what it held last. Of a token endpoint: raises
        AccessRefused, and ArchiveUnavailable when it gives no token within `timeout_s`."""
        if self._oauth2 is not None:
            return (self._oauth2.header(timeout_s) or "").encode("ascii")
        with contextlib.suppress(SettingsInvalid):  # an old one that the archive refuses is told as AccessRefused
            self._last = self._access.authorization()
        return self._last

    def refused(self, header: bytes | None) -> None:
        """The archive did not take this one."""
        if self._oauth2 is not None and header is not None:
            self._oauth2.refused(header.decode("ascii"))

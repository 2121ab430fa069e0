"""What a web server asks before it answers: a bearer token, one of OAuth 2.0 client credentials, and certificates."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from connectors.deadline import CuttableAdapter, Deadline
from connectors.tls import client_context
from schemas.errors import AccessRefused, SettingsInvalid, Unavailable

_STEP = "access"
#: b64token, RFC 6750 2.1: nothing else fits in a header
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*\Z")
#: RFC 6749 5.2: what a token endpoint may say; anything else it says is not repeated
_REFUSALS = frozenset(
    {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
)
#: bytes of a token endpoint's answer
_ANSWER_LIMIT = 64 * 1024
#: a token is used no longer than this before its end, or half its life: clocks differ, and a request takes time
_EARLY_S = 60.0


@dataclass(frozen=True, slots=True)
class HttpAccess:
    """Files and addresses only, never a secret. `token_file` holds a bearer token (RFC 6750); or `token_url`, `client_id` and
    `client_secret_file` (and `scope`) are for OAuth 2.0 client credentials (RFC 6749 4.4). `tls_ca` is PEM of the authorities of
    the server's certificate, None: those that `requests` brings; `tls_certificate` and `tls_key` are shown to a server that asks
    (mutual TLS). The token endpoint is met with the same certificates."""

    token_file: Path | None = None
    token_url: str | None = None
    client_id: str | None = None
    client_secret_file: Path | None = None
    scope: str | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def examine(self, section: str) -> None:
        """Raises SettingsInvalid, naming the section of the settings, when half of something is given or a file cannot be used."""
        client = (self.token_url, self.client_id, self.client_secret_file)
        if any(client) and not all(client):
            raise SettingsInvalid(section, "token_url", "token_url, client_id and client_secret_file are given together or not")
        if self.token_file and self.token_url:
            raise SettingsInvalid(section, "token_file", "either token_file or token_url, not both")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise SettingsInvalid(section, "tls_certificate", "tls_certificate and tls_key are given together or not at all")
        try:
            if self.token_file:
                bearer_token(self.token_file)
            if self.client_secret_file:
                _text(self.client_secret_file)
        except ValueError as error:
            raise SettingsInvalid(section, "token_file" if self.token_file else "client_secret_file", str(error)) from None
        examine_certificates(section, self.tls_ca, self.tls_certificate, self.tls_key)

    def prepare(self, session: requests.Session) -> None:
        """See `prepare`."""
        prepare(session, self.tls_ca, self.tls_certificate, self.tls_key)


class Authorization:
    """The header of that name, for each exchange anew; for several threads. `unavailable`: how a token endpoint that is down is
    called."""

    def __init__(self, access: HttpAccess, section: str, unavailable: type[Unavailable] = Unavailable) -> None:
        """Raises SettingsInvalid when `access` cannot be used."""
        access.examine(section)
        self._access = access
        self._unavailable = unavailable
        self._token = bearer_token(access.token_file) if access.token_file else None
        #: monotonic; None: until it is refused
        self._until: float | None = None
        self._lock = threading.Lock()

    def header(self, timeout_s: float) -> str | None:
        """From what the file holds now (while it cannot be used, being written just then, say: what it held last); or of a token
        that the token endpoint gives within `timeout_s`. Raises AccessRefused, and `unavailable`."""
        if self._access.token_file:
            with contextlib.suppress(ValueError):
                self._token = bearer_token(self._access.token_file)
        elif self._access.token_url:
            with self._locked(timeout_s) as left_s:
                if self._token is None or (self._until is not None and time.monotonic() >= self._until):
                    self._token, self._until = self._fetch(left_s)
                return f"Bearer {self._token}"
        return f"Bearer {self._token}" if self._token else None

    def refused(self, header: str | None) -> bool:
        """The server did not take this header. Whether there may be another one now: that the file was written again is seen
        anyway, a token of the token endpoint is fetched anew."""
        with self._lock:
            if self._access.token_url and header == f"Bearer {self._token}":
                self._token = None
        return bool(self._access.token_url or self._access.token_file)

    @contextlib.contextmanager
    def _locked(self, timeout_s: float) -> Any:
        """One thread asks, the others wait for what it gets."""
        end = time.monotonic() + timeout_s
        if not self._lock.acquire(timeout=max(timeout_s, 0.0)):
            raise self._unavailable(_STEP, "token_url", "no token within the time limit")
        try:
            yield end - time.monotonic()
        finally:
            self._lock.release()

    def _fetch(self, timeout_s: float) -> tuple[str, float | None]:
        """RFC 6749 4.4: a token, and until when it is used."""
        access = self._access
        assert access.token_url and access.client_secret_file
        started = time.monotonic()
        try:
            secret = _text(access.client_secret_file)
            with OAuth2Session(access.client_id, secret, scope=access.scope) as session, Deadline(max(timeout_s, 0.0)):
                access.prepare(session)
                session.mount("http://", _Bounded())
                session.mount("https://", _Bounded())
                answer = session.fetch_token(access.token_url, grant_type="client_credentials", allow_redirects=False)
        except OAuthError as error:
            said = error.error if error.error in _REFUSALS else "no word of RFC 6749"
            raise AccessRefused(_STEP, "token_url", f"{said}: check client_id and client_secret_file, and scope") from None
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in (requests.codes.unauthorized, requests.codes.forbidden):
                said = f"HTTP {status}: check client_id and client_secret_file"
                raise AccessRefused(_STEP, "token_url", said) from None
            raise self._unavailable(_STEP, "token_url", f"HTTP {status}") from None
        except (requests.RequestException, HTTPError, OSError, ValueError, TypeError) as error:
            raise self._unavailable(_STEP, "token_url", f"no token: {type(error).__name__}") from None
        return _usable(answer, started, self._unavailable)


class _Bounded(CuttableAdapter):
    """Of an answer no more is read than a token needs."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        response = HTTPAdapter.send(self, request, *args, **{**kwargs, "stream": True})
        content = response.raw.read(_ANSWER_LIMIT + 1, decode_content=True)
        if len(content) > _ANSWER_LIMIT:
            response.close()
            raise requests.exceptions.ContentDecodingError("too large")
        response._content = content  # what requests itself would have read, without a limit
        return response


def _usable(answer: Mapping[str, Any], started: float, unavailable: type[Unavailable]) -> tuple[str, float | None]:
    token, kind, life = answer.get("access_token"), answer.get("token_type"), answer.get("expires_in")
    if not isinstance(token, str) or not _TOKEN.match(token) or str(kind).lower() != "bearer":
        raise unavailable(_STEP, "token_url", "the answer holds no bearer token")
    if life is None:
        return token, None
    seconds = float(life)
    return token, started + seconds - min(_EARLY_S, seconds / 2)


def examine_certificates(section: str, ca: Path | None, certificate: Path | None, key: Path | None) -> None:
    """Raises SettingsInvalid, naming the section of the settings, when a file cannot be used."""
    if ca or certificate:
        try:
            client_context(ca, certificate, key)
        except SettingsInvalid as error:
            raise SettingsInvalid(section, "tls", f"{error.reference} {error.reason}") from None


def prepare(session: requests.Session, ca: Path | None, certificate: Path | None, key: Path | None) -> None:
    """Certificates for its connections; nothing of the environment. Files are read for each new connection."""
    session.trust_env = False  # no proxy and no password from the environment: settings alone say where things go
    if ca is not None:
        session.verify = str(ca)
    if certificate is not None and key is not None:
        session.cert = str(certificate), str(key)


def bearer_token(file: Path) -> str:
    """Raises ValueError, without what the file holds."""
    token = _text(file)
    if not _TOKEN.match(token):
        raise ValueError(f"{file} holds no bearer token (RFC 6750 2.1)")
    return token


def secret_of(file: Path) -> bytes:
    """What it holds, without line ends around it. Raises ValueError."""
    try:
        return file.read_bytes().strip(b"\r\n")
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None


def _text(file: Path) -> str:
    try:
        return secret_of(file).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8") from None

"""TLS for listeners and for clients: 1.2 and later, certificates from PEM files."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from schemas.errors import SettingsInvalid

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """`certificate` may hold the chain; with `client_ca` a client must show a certificate that it signed (mutual TLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises SettingsInvalid naming the file."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # a resumed session would skip the client's certificate; connections are persistent, so it would save nothing
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        _load(context, self.certificate, self.key)
        if self.client_ca:
            _trust(context, self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def stamp(self) -> tuple[object, ...]:
        """Another one when a file has been written or replaced."""
        return tuple(_stamp(file) for file in (self.certificate, self.key, self.client_ca) if file)


class ServerTls:
    """The context of a listener, made anew when its files have changed: a certificate is renewed without a restart."""

    def __init__(self, files: CertificateFiles, alarm: Callable[[str], None] = lambda trouble: None) -> None:
        """`alarm` is told why new files cannot be used, and "" when they can. Raises SettingsInvalid when those that are
        there now cannot."""
        self._files = files
        self._alarm = alarm
        self._stamp = files.stamp()
        self._context = files.context()

    def context(self) -> ssl.SSLContext:
        """For the next connection. While the files cannot be used (one of the two is replaced already, say) the last good
        ones are."""
        stamp = self._files.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = self._files.context()
            except SettingsInvalid as error:
                log.error("new certificate files cannot be used, the old ones stay in use", error=str(error))  # noqa: TRY400
                self._alarm(f"{error.reference}: {error.reason}; the certificate of before is still in use")
            else:
                log.info("new certificate files are in use", certificate=str(self._files.certificate))
                self._alarm("")
        return self._context


def client_context(ca: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """The server's name and certificate are checked, against `ca` or what this machine trusts; `certificate` and `key` are
    shown to a server that asks. Raises SettingsInvalid naming the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca:
        _trust(context, ca)
    else:
        context.load_default_certs()
    if certificate and key:
        _load(context, certificate, key)
    return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key, password="")  # never asks the terminal for one
    except (OSError, ValueError) as error:
        raise SettingsInvalid(
            "tls", f"{certificate}, {key}", f"cannot be used as certificate and key: {reason_of(error)}"
        ) from None


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ValueError) as error:
        raise SettingsInvalid("tls", str(ca), f"holds no certificates of an authority: {reason_of(error)}") from None


def reason_of(error: Exception) -> str:
    """Of a failed handshake, file or connection, in the words of OpenSSL or of the system."""
    match error:
        case ssl.SSLCertVerificationError():
            return error.verify_message
        case ssl.SSLError():
            return error.reason or "not PEM, or a password is needed"
        case socket.gaierror():  # its numbers are not the system's
            return error.strerror or "the host is not known"
        case OSError(errno=int(number)):
            return os.strerror(number)
    return type(error).__name__


def tls_failure(error: BaseException) -> str | None:
    """Why TLS failed beneath what an HTTP client raised, of which no other text is told: it holds addresses. None: it did not."""
    cause = error
    for _ in range(8):  # requests wraps what urllib3 wraps
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {reason_of(cause)}: check the certificates on both sides"
        inside = [one for one in (getattr(cause, "reason", None), *cause.args, cause.__cause__) if isinstance(one, BaseException)]
        if not inside:
            return None
        cause = inside[0]
    return None


def _stamp(file: Path) -> object:
    try:
        seen = file.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino

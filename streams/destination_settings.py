"""Who is told what the AI says: any number of destinations, each with a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streams.listener_settings import Address, host_and_port
from streams.section import Seconds, Section, WithCertificate

#: in `radstream.deliveries`, in consumer groups, in health and in `radstream doctor`
DestinationName = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)]

#: the destination of the section `fhir`
FHIR_DESTINATION = "fhir"

# the words of schemas.renderings, which the listener must not load
Language = Literal["en", "zh-TW"]
#: table 0211
OruCharset = Literal["UNICODE UTF-8", "BIG-5"]
#: of the text field of a report: the shortest that holds what must be said
LEAST_LIMIT = 380
#: no text has more lines: so many are taken back, whatever the setting was when it was told
MOST_LINES = 20


class _Certificates(WithCertificate):
    """Ours is shown to a server that asks (mutual TLS)."""

    #: authorities of the server's certificate; None: the public ones
    tls_ca: Path | None = None
    timeout_s: Seconds = 20.0


class WithToken(_Certificates):
    """A bearer token in `token_file`; or OAuth 2.0 client credentials (RFC 6749 4.4)."""

    token_file: Path | None = None
    oauth2_token_url: str | None = None
    oauth2_client_id: str | None = None
    oauth2_client_secret_file: Path | None = None
    oauth2_scope: str | None = None

    @model_validator(mode="after")
    def _access_is_whole(self) -> Self:
        client = (self.oauth2_token_url, self.oauth2_client_id, self.oauth2_client_secret_file)
        if any(client) and not all(client):
            raise ValueError("oauth2_token_url, oauth2_client_id and oauth2_client_secret_file go together")
        if self.oauth2_scope and not all(client):
            raise ValueError("oauth2_scope needs oauth2_token_url")
        if self.token_file is not None and any(client):
            raise ValueError("token_file, or oauth2_token_url: not both")
        return self


class FhirSettings(WithToken):
    """A FHIR R4 server."""

    url: str = "http://127.0.0.1:8090/fhir"
    connections: Annotated[int, Field(ge=1)] = 4


class FhirDestination(FhirSettings):
    """One more FHIR server."""

    name: DestinationName
    url: str


class _WithPassword(WithToken):
    """Or HTTP basic authentication (RFC 7617)."""

    user: Annotated[str, Field(pattern="^[^:]+$")] | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _password_is_whole(self) -> Self:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together")
        if self.user is not None and (self.token_file is not None or self.oauth2_token_url is not None):
            raise ValueError("token_file, or oauth2_token_url, or user and password_file: one of them")
        return self


class ArchiveDestination(_WithPassword):
    """An archive that gets DICOM SR by STOW-RS. Without `dicomweb_url` that of the section `archive`, entered as it says."""

    name: DestinationName
    dicomweb_url: str | None = None
    #: largest answer, in bytes
    size_limit: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024

    @model_validator(mode="after")
    def _access_is_to_something(self) -> Self:
        if self.dicomweb_url is None and any(
            (self.token_file, self.oauth2_token_url, self.user, self.tls_ca, self.tls_certificate)
        ):
            raise ValueError("without dicomweb_url it is entered as the section archive says: no credentials here")
        return self


class WebhookDestination(_WithPassword):
    """A web server that gets Findings as JSON, signed (Standard Webhooks). `secret_file`: one secret a line, `whsec_` and
    base64."""

    name: DestinationName
    url: str
    secret_file: Path


class OruDestination(_Certificates):
    """A receiver of HL7 v2.5.1 ORU^R01 over MLLP; with `tls_ca` over TLS."""

    name: DestinationName
    address: Address
    #: MSH-3, MSH-4, MSH-5, MSH-6
    sending_application: str = "radstream"
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    #: MSH-11
    processing_id: Literal["P", "T", "D"] = "P"
    #: MSH-18
    charset: OruCharset = "UNICODE UTF-8"
    #: None: the site's
    language: Language | None = None
    #: OBR-25 and OBX-11 of what nobody has verified (tables 0123, 0085)
    unverified: Literal["R", "P"] = "R"
    #: of OBR, where the accession number stands; None: nowhere
    accession_field: Literal[18, 19, 20, 21] | None = 18
    #: of the text that a report field takes: lines, and their length in `field_unit`
    field_lines: Annotated[int, Field(ge=1, le=MOST_LINES)] = 10
    field_limit: Annotated[int, Field(ge=LEAST_LIMIT)] = 510
    field_unit: Literal["characters", "bytes"] = "characters"
    #: whether the disclaimer counts against these limits, stands beyond them, or is shown by the receiver itself
    field_disclaimer: Literal["within", "beyond", "none"] = "within"

    def _plaintext_hosts(self) -> list[str | None]:
        return [] if self.tls_ca else [host_and_port(self.address)[0]]

    @model_validator(mode="after")
    def _certificate_is_for_tls(self) -> Self:
        if self.tls_certificate is not None and self.tls_ca is None:
            raise ValueError("tls_certificate needs tls_ca")
        return self


class DestinationSettings(Section):
    """Beside the FHIR server of the section `fhir`. Each begins with what comes after its name first stood here."""

    fhir: tuple[FhirDestination, ...] = ()
    archive: tuple[ArchiveDestination, ...] = ()
    oru: tuple[OruDestination, ...] = ()
    webhook: tuple[WebhookDestination, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all, that of the section `fhir` first."""
        return FHIR_DESTINATION, *self._own_names()

    def _own_names(self) -> Iterator[str]:
        for kind in (self.fhir, self.archive, self.oru, self.webhook):
            yield from (one.name for one in kind)

    @model_validator(mode="after")
    def _each_has_its_own_name(self) -> Self:
        for name, times in Counter(self.names).items():
            if times > 1:
                whose = "the section fhir has it" if name == FHIR_DESTINATION else "each needs one of its own"
                raise ValueError(f"two destinations are called {name}: {whose}")
        return self

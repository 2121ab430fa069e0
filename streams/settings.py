"""The only reader of the environment. Read once, frozen; a connector is given values, never this object.

`radstream.toml` in the working folder (or RADSTREAM_CONFIG), overruled by RADSTREAM_<SECTION>__<NAME>.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from schemas.errors import SettingsInvalid
from schemas.findings import Loinc
from schemas.hl7v2.admission import Admission
from schemas.hl7v2.site import Assigner, Site
from streams.audit_settings import AuditSettings
from streams.choosing_settings import ChoosingSettings
from streams.destination_settings import DestinationSettings, FhirSettings, Language
from streams.discrepancy_settings import DiscrepancySettings
from streams.listener_settings import MllpSettings
from streams.model_settings import ModelSettings, ServingSettings
from streams.section import Peer, Port, Seconds, Section, WithCertificate
from streams.segment_settings import SegmentSettings
from streams.study_settings import DicomSettings, NewsSettings, WebhookSettings

#: the word for a setting that is not set, in the environment
_NONE = "none"


class SiteSettings(Site):
    """Who assigns numbers when nobody says so, where they stand, where the senders' clocks stand, their character set, and the
    language."""

    default_assigner: Assigner = "HOSPITAL"
    #: of what people read
    language: Language = "en"
    #: code of the site in OBR-4.1 -> LOINC number of the examination; a code whose system is LN needs no entry
    examinations: dict[str, Loinc] = Field(default_factory=dict)
    #: assigner -> the identifier system (URI) that the hospital's FHIR server knows it by
    identifier_systems: dict[str, Annotated[str, Field(pattern=r"^(urn:|https?://)\S+$")]] = Field(default_factory=dict)


class KafkaSettings(Peer):
    bootstrap: str = "127.0.0.1:9092"
    #: append answers within this time or says that the broker is away
    append_timeout_s: Seconds = 5.0

    def _plaintext_hosts(self) -> list[str | None]:
        return [urlsplit(f"//{server.strip()}").hostname for server in self.bootstrap.split(",")]


class ArchiveSettings(WithCertificate):
    dicomweb_url: str = "http://127.0.0.1:8042/dicom-web"
    #: None: the archive is no Orthanc
    orthanc_url: str | None = "http://127.0.0.1:8042"
    #: a bearer token; or both of the next two: HTTP basic authentication. They hold for both addresses.
    token_file: Path | None = None
    user: Annotated[str, Field(pattern="^[^:]+$")] | None = None  # RFC 7617: no colon
    password_file: Path | None = None
    #: authorities of its certificate; None: the public ones
    tls_ca: Path | None = None
    timeout_s: Seconds = 20.0
    poll_interval_s: Seconds = 0.5
    #: a study of which a source does not say that it is complete is counted twice, so far apart
    quiet_s: Seconds = 10.0
    #: how often the archive's list of recent studies is compared with that of last time (QIDO-RS), None: never; and what is recent
    list_interval_s: Seconds | None = 5.0
    list_days: Annotated[int, Field(ge=1)] = 3
    #: largest instance, in bytes
    size_limit: Annotated[int, Field(gt=0)] = 256 * 1024 * 1024
    connections: Annotated[int, Field(ge=1)] = 4
    #: owns Patient IDs (0010,0020) without an issuer, where the archive keeps other numbers than the messages; None: the site's
    default_patient_assigner: Assigner | None = None

    @model_validator(mode="after")
    def _access_is_whole(self) -> Self:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together")
        if self.user is not None and self.token_file is not None:
            raise ValueError("token_file, or user and password_file: not both")
        return self


class DatabaseSettings(Section):
    url: str = "sqlite:///var/radstream.db"


class DecodingSettings(Section):
    workers: Annotated[int, Field(ge=1)] = 1
    timeout_s: Seconds = 20.0
    memory_limit: Annotated[int, Field(gt=0)] = 2 * 1024**3
    pixel_limit: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024


class ObjectSettings(Peer):
    """Where rendered images are kept: a folder, or `s3://BUCKET/PREFIX` with endpoint, region and two files of one line."""

    url: str | None = "var/objects"
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    s3_access_key_file: Path | None = None
    s3_secret_key_file: Path | None = None
    timeout_s: Seconds = 20.0

    def _plaintext_hosts(self) -> list[str | None]:
        endpoint = urlsplit(self.s3_endpoint or "https://")
        return [] if endpoint.scheme == "https" else [endpoint.hostname]

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        if (self.s3_access_key_file is None) != (self.s3_secret_key_file is None):
            raise ValueError("s3_access_key_file and s3_secret_key_file go together")
        return self


class CorrelationSettings(Section):
    #: how long a study waits for its order (rule 5)
    order_wait_s: Annotated[float, Field(ge=0)] = 60.0
    without_order: Literal["analyse", "refuse"] = "analyse"
    #: from the request to "not analysed (late)"; the answer may still follow. None: never
    deadline_s: Seconds | None = 600.0
    sweep_interval_s: Seconds = 0.5


class RunnerSettings(Section):
    """`window`: records in flight in a long step; one of several is reserved for STAT."""

    window: Annotated[int, Field(ge=1)] = 4
    kill_after_s: Seconds = 10.0


class ServicesSettings(Section):
    """Where `radstream services` keeps its logs and data, and the ports nobody else needs to know."""

    root: Path = Path("var/services")
    kafka_controller_port: Port = 9093
    orthanc_dicom_port: Port = 4242


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="RADSTREAM_", env_nested_delimiter="__", env_parse_none_str=_NONE, frozen=True, extra="forbid"
    )

    #: health files, logs and the pid of a running engine
    run_folder: Path = Path("var/run")
    site: SiteSettings = SiteSettings()
    #: which messages the site takes, by listener and by topic alike
    admission: Admission = Admission()
    kafka: KafkaSettings = KafkaSettings()
    mllp: MllpSettings = MllpSettings()
    archive: ArchiveSettings = ArchiveSettings()
    fhir: FhirSettings = FhirSettings()
    destinations: DestinationSettings = DestinationSettings()
    database: DatabaseSettings = DatabaseSettings()
    models: ModelSettings = ModelSettings()
    serving: ServingSettings = ServingSettings()
    decoding: DecodingSettings = DecodingSettings()
    choosing: ChoosingSettings = ChoosingSettings()
    webhook: WebhookSettings = WebhookSettings()
    dicom: DicomSettings = DicomSettings()
    news: NewsSettings = NewsSettings()
    objects: ObjectSettings = ObjectSettings()
    correlation: CorrelationSettings = CorrelationSettings()
    discrepancies: DiscrepancySettings = DiscrepancySettings()
    audit: AuditSettings = AuditSettings()
    segments: SegmentSettings = SegmentSettings()
    runner: RunnerSettings = RunnerSettings()
    services: ServicesSettings = ServicesSettings()

    @model_validator(mode="after")
    def _discrepancies_are_told_to_a_web_server(self) -> Self:
        receiver, web_servers = self.discrepancies.receiver, [one.name for one in self.destinations.webhook]
        if receiver is not None and receiver not in web_servers:
            raise ValueError(f"discrepancies.receiver: {receiver} is no webhook among the destinations")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = Path(os.environ.get("RADSTREAM_CONFIG", "radstream.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)


def read_settings() -> Settings:
    """Raises SettingsInvalid that names every wrong setting, but not its value (it may be a secret)."""
    file = os.environ.get("RADSTREAM_CONFIG")
    if file is not None and not Path(file).exists():
        raise SettingsInvalid("settings", "RADSTREAM_CONFIG", f"there is no file {file}")
    if unknown := [name for name in os.environ if _section_of(name) not in (None, *Settings.model_fields)]:
        raise SettingsInvalid("settings", "environment", "; ".join(f"{name}: {_UNKNOWN}" for name in unknown))
    try:
        return Settings()
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid("settings", file or "radstream.toml", f"is not TOML: {error}") from None
    except SettingsError:
        raise SettingsInvalid("settings", ", ".join(_not_json()) or "environment", "a list or a map must be JSON") from None
    except ValidationError as error:
        named = "; ".join(f"{place}: {advice}" for place, advice in _advice(error))
        raise SettingsInvalid("settings", "radstream.toml or environment", named) from None


def _section_of(name: str) -> str | None:
    """`mllp` of RADSTREAM_MLLP__PORT; a name without a section may be anybody's."""
    section, parted, _ = name.upper().removeprefix("RADSTREAM_").partition("__")
    return section.lower() if parted and name.upper().startswith("RADSTREAM_") else None


def _not_json() -> Iterator[str]:
    """Lists and maps of the environment that are none."""
    for name, default in as_environment(Settings.model_construct()).items():
        if default[:1] in ("[", "{") and name in os.environ:
            try:
                json.loads(os.environ[name])
            except ValueError:
                yield name


_UNKNOWN = "there is no such setting: see docs/settings.md"
#: by pydantic's name of the error, where its own words are for programmers
_ADVICE = {
    "extra_forbidden": _UNKNOWN,
    "ip_any_network": "is no network such as 10.20.0.0/16 (no bit set behind the prefix) or 10.20.3.7",
    "missing": "is missing",
    "model_type": "should be a section",
    "tuple_type": "should be a list",
}


def _advice(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Place and advice of each fault; not that a list is too short because what it held is wrong."""
    places = [one["loc"] for one in error.errors()]
    for one in error.errors():
        place = one["loc"]
        if one["type"] == "too_short" and any(other != place and other[: len(place)] == place for other in places):
            continue
        name = "__".join(str(part) for part in place if part != "[key]").upper()
        words = one["msg"].removeprefix("Value error, ").removeprefix("Input ")
        yield f"RADSTREAM_{name}".rstrip("_"), _ADVICE.get(one["type"], words)


def as_environment(settings: Settings) -> dict[str, str]:
    """The environment that makes another process read exactly these settings, and no file."""
    variables = {"RADSTREAM_CONFIG": os.devnull}
    for name, value in settings.model_dump(mode="json").items():
        if isinstance(value, dict):
            variables |= {f"RADSTREAM_{name}__{key}".upper(): _text(item) for key, item in value.items()}
        else:
            variables[f"RADSTREAM_{name}".upper()] = _text(value)
    return variables


def _text(value: Any) -> str:
    if value is None:
        return _NONE
    return json.dumps(value) if isinstance(value, (list, dict)) else str(value)

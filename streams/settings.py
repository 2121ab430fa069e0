"""The only reader of the environment. Read once, frozen; a connector is given values, never this object.

`radstream.toml` in the working folder (or RADSTREAM_CONFIG), overruled by RADSTREAM_<SECTION>__<NAME>.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from schemas.errors import SettingsInvalid
from schemas.hl7v2.site import Assigner, Site

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Peer(_Section):
    """A server that we connect to. Beyond loopback without TLS is refused unless a setting says so in as many words."""

    allow_plaintext_beyond_loopback: bool = False

    def _plaintext_hosts(self) -> list[str | None]:
        """Hosts that are spoken to in the clear."""
        urls = [urlsplit(value) for name, value in self if name.endswith("url")]
        return [url.hostname for url in urls if url.scheme != "https"]

    @model_validator(mode="after")
    def _no_plaintext_beyond_loopback(self) -> Self:
        if not self.allow_plaintext_beyond_loopback and not all(map(_is_loopback, self._plaintext_hosts())):
            raise ValueError("plain text beyond loopback is refused: use TLS, or set allow_plaintext_beyond_loopback")
        return self


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


class SiteSettings(Site):
    """Who assigns numbers when nobody says so, where the senders' clocks stand, and their character set."""

    default_assigner: Assigner = "HOSPITAL"


class KafkaSettings(_Peer):
    bootstrap: str = "127.0.0.1:9092"
    #: append answers within this time or says that the broker is away
    append_timeout_s: Seconds = 5.0

    def _plaintext_hosts(self) -> list[str | None]:
        return [urlsplit(f"//{server.strip()}").hostname for server in self.bootstrap.split(",")]


class MllpSettings(_Section):
    host: str = "127.0.0.1"
    port: Port = 2575
    allow_plaintext_beyond_loopback: bool = False
    storing_timeout_s: Seconds = 5.0


class ArchiveSettings(_Peer):
    dicomweb_url: str = "http://127.0.0.1:8042/dicom-web"
    orthanc_url: str = "http://127.0.0.1:8042"
    timeout_s: Seconds = 20.0
    poll_interval_s: Seconds = 0.5
    #: largest instance, in bytes
    size_limit: Annotated[int, Field(gt=0)] = 256 * 1024 * 1024
    connections: Annotated[int, Field(ge=1)] = 4


class FhirSettings(_Peer):
    url: str = "http://127.0.0.1:8090/fhir"
    timeout_s: Seconds = 20.0
    connections: Annotated[int, Field(ge=1)] = 4


class DatabaseSettings(_Section):
    url: str = "sqlite:///var/radstream.db"


class ModelSettings(_Section):
    """`url`: folder of one model package (card.toml, weights.safetensors)."""

    url: str = "models/packages/chest-nodule/1"
    threads: Annotated[int, Field(ge=1)] = 2


class DecodingSettings(_Section):
    workers: Annotated[int, Field(ge=1)] = 1
    timeout_s: Seconds = 20.0
    memory_limit: Annotated[int, Field(gt=0)] = 2 * 1024**3
    pixel_limit: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024


class CorrelationSettings(_Section):
    #: how long a study waits for its order (rule 5)
    order_wait_s: Annotated[float, Field(ge=0)] = 60.0
    without_order: Literal["analyse", "refuse"] = "analyse"
    sweep_interval_s: Seconds = 0.5


class RunnerSettings(_Section):
    """`window`: records in flight in a long step; one slot more is reserved for STAT."""

    window: Annotated[int, Field(ge=1)] = 4
    kill_after_s: Seconds = 10.0


class ServicesSettings(_Section):
    """Where `radstream services` keeps its logs and data, and the ports nobody else needs to know."""

    root: Path = Path("var/services")
    kafka_controller_port: Port = 9093
    orthanc_dicom_port: Port = 4242


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="RADSTREAM_", env_nested_delimiter="__", frozen=True, extra="forbid", toml_file="radstream.toml"
    )

    #: health files, logs and the pid of a running engine
    run_folder: Path = Path("var/run")
    site: SiteSettings = SiteSettings()
    kafka: KafkaSettings = KafkaSettings()
    mllp: MllpSettings = MllpSettings()
    archive: ArchiveSettings = ArchiveSettings()
    fhir: FhirSettings = FhirSettings()
    database: DatabaseSettings = DatabaseSettings()
    models: ModelSettings = ModelSettings()
    decoding: DecodingSettings = DecodingSettings()
    correlation: CorrelationSettings = CorrelationSettings()
    runner: RunnerSettings = RunnerSettings()
    services: ServicesSettings = ServicesSettings()

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
    try:
        return Settings()
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid("settings", os.environ.get("RADSTREAM_CONFIG", "radstream.toml"), f"is not TOML: {error}") from None
    except ValidationError as error:
        wrong = [(".".join(map(str, e["loc"])), _advice(e["type"], e["msg"])) for e in error.errors()]
        named = "; ".join(f"RADSTREAM_{place.upper().replace('.', '__')}: {advice}" for place, advice in wrong)
        raise SettingsInvalid("settings", "radstream.toml or environment", named) from None


def _advice(kind: str, message: str) -> str:
    return "there is no such setting: see docs/settings.md" if kind == "extra_forbidden" else message


def as_environment(settings: Settings) -> dict[str, str]:
    """The environment that makes another process read exactly these settings."""
    variables: dict[str, str] = {}
    for name, value in settings.model_dump(mode="json").items():
        if isinstance(value, dict):
            variables |= {f"RADSTREAM_{name}__{key}".upper(): str(item) for key, item in value.items() if item is not None}
        else:
            variables[f"RADSTREAM_{name}".upper()] = str(value)
    return variables

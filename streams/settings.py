"""The only reader of the environment. Read once, frozen; a connector is given values, never this object.

`radstream.toml` in the working folder (or RADSTREAM_CONFIG), overruled by RADSTREAM_<SECTION>__<NAME>.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from schemas.errors import SettingsInvalid
from schemas.hl7v2.admission import Admission
from schemas.hl7v2.site import Assigner, Site
from streams.listener_settings import MllpSettings
from streams.section import Peer, Port, Seconds, Section

#: the word for a setting that is not set, in the environment
_NONE = "none"


class SiteSettings(Site):
    """Who assigns numbers when nobody says so, where they stand, where the senders' clocks stand, and their character set."""

    default_assigner: Assigner = "HOSPITAL"


class KafkaSettings(Peer):
    bootstrap: str = "127.0.0.1:9092"
    #: append answers within this time or says that the broker is away
    append_timeout_s: Seconds = 5.0

    def _plaintext_hosts(self) -> list[str | None]:
        return [urlsplit(f"//{server.strip()}").hostname for server in self.bootstrap.split(",")]


class ArchiveSettings(Peer):
    dicomweb_url: str = "http://127.0.0.1:8042/dicom-web"
    orthanc_url: str = "http://127.0.0.1:8042"
    timeout_s: Seconds = 20.0
    poll_interval_s: Seconds = 0.5
    #: largest instance, in bytes
    size_limit: Annotated[int, Field(gt=0)] = 256 * 1024 * 1024
    connections: Annotated[int, Field(ge=1)] = 4
    #: owns Patient IDs (0010,0020) without an issuer, where the archive keeps other numbers than the messages; None: the site's
    default_patient_assigner: Assigner | None = None


class FhirSettings(Peer):
    url: str = "http://127.0.0.1:8090/fhir"
    timeout_s: Seconds = 20.0
    connections: Annotated[int, Field(ge=1)] = 4


class DatabaseSettings(Section):
    url: str = "sqlite:///var/radstream.db"


class ModelSettings(Section):
    """`url`: folder of one model package (card.toml, weights.safetensors)."""

    url: str = "models/packages/chest-nodule/1"
    threads: Annotated[int, Field(ge=1)] = 2


class DecodingSettings(Section):
    workers: Annotated[int, Field(ge=1)] = 1
    timeout_s: Seconds = 20.0
    memory_limit: Annotated[int, Field(gt=0)] = 2 * 1024**3
    pixel_limit: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024


class CorrelationSettings(Section):
    #: how long a study waits for its order (rule 5)
    order_wait_s: Annotated[float, Field(ge=0)] = 60.0
    without_order: Literal["analyse", "refuse"] = "analyse"
    sweep_interval_s: Seconds = 0.5


class RunnerSettings(Section):
    """`window`: records in flight in a long step; one slot more is reserved for STAT."""

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
    except SettingsError as error:  # a list or map in the environment that is not JSON
        raise SettingsInvalid("settings", "environment", f"a list or a map must be JSON: {error}") from None
    except ValidationError as error:
        wrong = [(".".join(map(str, e["loc"])), _advice(e["type"], e["msg"])) for e in error.errors()]
        named = "; ".join(f"RADSTREAM_{place.upper().replace('.', '__')}: {advice}" for place, advice in wrong)
        raise SettingsInvalid("settings", "radstream.toml or environment", named) from None


def _advice(kind: str, message: str) -> str:
    return "there is no such setting: see docs/settings.md" if kind == "extra_forbidden" else message


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

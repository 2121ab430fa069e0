"""The TCP ports of the local services."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from streams.services import probes
from streams.settings import Settings

LOOPBACK = probes.LOOPBACK

#: what to set to move one of them
SETTING = {
    "kafka": "RADSTREAM_KAFKA__BOOTSTRAP",
    "kafka_controller": "RADSTREAM_SERVICES__KAFKA_CONTROLLER_PORT",
    "orthanc_http": "RADSTREAM_ARCHIVE__ORTHANC_URL and RADSTREAM_ARCHIVE__DICOMWEB_URL",
    "orthanc_dicom": "RADSTREAM_SERVICES__ORTHANC_DICOM_PORT",
    "fhir": "RADSTREAM_FHIR__URL",
}


class ServicePorts(BaseModel):
    """Where the services listen, on loopback only. The defaults are those of docker-compose.yml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kafka: int = Field(default=9092, ge=1, le=65535)
    kafka_controller: int = Field(default=9093, ge=1, le=65535)
    orthanc_http: int = Field(default=8042, ge=1, le=65535)
    orthanc_dicom: int = Field(default=4242, ge=1, le=65535)
    fhir: int = Field(default=8090, ge=1, le=65535)

    @classmethod
    def free(cls) -> Self:
        """Ports that are free at this moment, for a second set of services beside the default one."""
        return cls(**dict(zip(cls.model_fields, probes.free_ports(len(cls.model_fields)), strict=True)))

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Where the engine with these settings looks for them; the default where it uses a server of another machine."""
        addresses = {
            "kafka": f"//{settings.kafka.bootstrap.split(',')[0]}",
            "orthanc_http": settings.archive.orthanc_url or "",
            "fhir": settings.fhir.url,
        }
        here = {name: urlsplit(address).port for name, address in addresses.items() if _is_loopback(address)}
        return cls(
            kafka_controller=settings.services.kafka_controller_port,
            orthanc_dicom=settings.services.orthanc_dicom_port,
            **{name: port for name, port in here.items() if port},
        )


def _is_loopback(address: str) -> bool:
    return urlsplit(address).hostname in {LOOPBACK, "localhost"}

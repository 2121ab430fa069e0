"""The HAPI FHIR JPA server, R4, on an H2 file."""

from collections.abc import Callable
from pathlib import Path

from streams.services.build import DEPLOY, ensure_built
from streams.services.ports import LOOPBACK, ServicePorts
from streams.services.probes import http_answers
from streams.services.service import Service, java


class FhirServer(Service):
    name = "fhir"

    def __init__(self, root: Path, ports: ServicePorts) -> None:
        super().__init__(root, {"fhir": ports.fhir})

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['fhir']}/fhir"

    def build(self, tell: Callable[[str], None]) -> None:
        ensure_built("fhir-server", tell)

    def prepare(self) -> None:
        self.data.mkdir(exist_ok=True)

    def command(self) -> list[str]:
        # WRITE_DELAY=0: otherwise kill -9 loses transactions that were answered. TRACE_LEVEL_FILE=0: no SQL beside the data
        database = f"jdbc:h2:file:{self.data / 'fhir'};WRITE_DELAY=0;DB_CLOSE_ON_EXIT=FALSE;TRACE_LEVEL_FILE=0"
        switches = {
            "host": LOOPBACK,
            "port": self.ports["fhir"],
            "db": database,
            "strict": "true",  # an unknown element is an error, not dropped with a line in a log
            "org.slf4j.simpleLogger.defaultLogLevel": "warn",
        }
        jar = DEPLOY / "fhir-server" / "target" / "fhir-server.jar"
        return [*java(self.folder, "-Xmx1g", *(f"-D{name}={value}" for name, value in switches.items())), "-jar", str(jar)]

    def is_ready(self) -> bool:
        """It states its capabilities."""
        return http_answers(f"{self.address}/metadata", within_seconds=30)

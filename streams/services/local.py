"""Starting and stopping the local services together, and knowing how they are."""

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.services import process
from streams.services.build import last_lines
from streams.services.fhir_server import FhirServer
from streams.services.kafka import Kafka
from streams.services.orthanc import Orthanc
from streams.services.ports import SETTING, ServicePorts
from streams.services.probes import holder, is_free
from streams.services.process import RunningProcess
from streams.services.service import Service, ServiceError

DEFAULT_ROOT = Path("var/services")
_READY_SECONDS = 180.0  # the FHIR server's first start on two busy cores takes a third of it
_RELEASE_SECONDS = 5.0
_ASK_AGAIN_SECONDS = 0.2


@dataclass(frozen=True)
class ServiceStatus:
    """How one service is. `state`: ready, not answering, died (without being asked to), or stopped."""

    name: str
    state: str
    address: str
    ports: dict[str, int]
    pid: int | None
    uptime_seconds: float | None
    log: str


class LocalServices:
    """Kafka, Orthanc and the FHIR server under one folder; every method takes some of their names, or none for all.

    Attached services end with this process, even when it is killed; the others stay until `down`. Without `ports`: those
    in use under this folder, else the default ones.
    """

    def __init__(
        self,
        root: Path = DEFAULT_ROOT,
        ports: ServicePorts | None = None,
        *,
        attached: bool = False,
        stable_age_seconds: int = 2,
        tell: Callable[[str], None] = print,
    ) -> None:
        self.root = root.resolve()
        self.ports = ports or _ports_in_use(self.root)
        self._attached = attached
        self._tell = tell
        self._services: dict[str, Service] = {
            service.name: service
            for service in (
                Kafka(self.root, self.ports),
                Orthanc(self.root, self.ports, stable_age_seconds=stable_age_seconds),
                FhirServer(self.root, self.ports),
            )
        }

    @property
    def kafka_bootstrap(self) -> str:
        return self._services["kafka"].address

    @property
    def orthanc_url(self) -> str:
        return self._services["orthanc"].address

    @property
    def dicomweb_url(self) -> str:
        return f"{self.orthanc_url}/dicom-web"

    @property
    def fhir_url(self) -> str:
        return self._services["fhir"].address

    def build(self, *names: str) -> None:
        """Fetch and build what is missing, without starting anything. Raises ServiceError."""
        for service in self._chosen(names):
            service.build(self._tell)

    def up(self, *names: str) -> list[str]:
        """Start what does not run yet, all at once, and wait until each does its work. Returns the names of those started.

        Raises:
            ServiceError: one cannot be built, its port is taken, it ended or does not answer. Those started are stopped again.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            absent = [service for service in self._chosen(names) if not self._runs(service)]
            for service in absent:
                service.folder.mkdir(mode=0o700, exist_ok=True)
                _refuse_taken_ports(service)
                service.build(self._tell)
            cancelled = threading.Event()
            with ThreadPoolExecutor(len(self._services)) as pool:
                starts = [pool.submit(self._start, service, cancelled) for service in absent]
                try:
                    for start in as_completed(starts):
                        start.result()
                except BaseException:  # an interrupt too: all or nothing
                    cancelled.set()
                    pool.shutdown()
                    self.down(*(service.name for service in absent))
                    raise
        return [service.name for service in absent]

    def down(self, *names: str, kill: bool = False) -> None:
        """Stop those that run: TERM, and KILL after a time; with `kill`, KILL at once. Data and logs stay."""

        def stop(service: Service) -> None:
            if running := process.recall(service.process_file):
                running.stop(kill=kill)
                _await_free(running.ports)
                service.process_file.unlink(missing_ok=True)
                self._tell(f"{service.name} stopped")

        with ThreadPoolExecutor(len(self._services)) as pool:
            list(pool.map(stop, self._chosen(names)))

    def reset(self, *names: str) -> None:
        """Stop them and delete their data, logs and configuration."""
        self.down(*names)
        for service in self._chosen(names):
            if service.folder.exists():
                shutil.rmtree(service.folder)
                self._tell(f"{service.name}: data deleted")

    def status(self, *names: str) -> list[ServiceStatus]:
        """Ask each how it is, now."""
        with ThreadPoolExecutor(len(self._services)) as pool:
            return list(pool.map(self._status, self._chosen(names)))

    def _chosen(self, names: tuple[str, ...]) -> list[Service]:
        if unknown := set(names) - set(self._services):
            raise ServiceError(f"there is no service {', '.join(sorted(unknown))}: {', '.join(self._services)}")
        return [service for name, service in self._services.items() if not names or name in names]

    def _runs(self, service: Service) -> bool:
        running = process.recall(service.process_file)
        if running is None or not running.is_alive():
            return False
        if running.ports != service.ports:
            raise ServiceError(
                f"{service.name} already runs in {self.root}, with other ports ({_in_words(running.ports)}): "
                "stop it first with `radstream services down`"
            )
        self._tell(f"{service.name} already runs at {service.address}")
        return True

    def _start(self, service: Service, cancelled: threading.Event) -> None:
        begin = time.monotonic()
        service.prepare()
        running = process.start(service.command(), service.folder, service.log, service.ports, attached=self._attached)
        running.remember(service.process_file)
        while not service.is_ready():
            if not running.is_alive():
                raise ServiceError(f"{service.name} ended while starting:\n{last_lines(service.log)}\nLog: {service.log}")
            if time.monotonic() - begin > _READY_SECONDS:
                raise ServiceError(f"{service.name} does not answer after {_READY_SECONDS:.0f} s. Log: {service.log}")
            if cancelled.wait(_ASK_AGAIN_SECONDS):
                return
        self._tell(f"{service.name} ready at {service.address} after {time.monotonic() - begin:.1f} s")

    def _status(self, service: Service) -> ServiceStatus:
        running: RunningProcess | None = process.recall(service.process_file)
        alive = running is not None and running.is_alive()
        if running is None:
            state = "stopped"
        elif not alive:
            state = "died"
        else:
            state = "ready" if service.is_ready() else "not answering"
        return ServiceStatus(
            name=service.name,
            state=state,
            address=service.address,
            ports=service.ports,
            pid=running.pid if running and alive else None,
            uptime_seconds=round(running.uptime_seconds(), 1) if running and alive else None,
            log=str(service.log),
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two commands may not start the same services at once."""
        folder = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


@contextmanager
def running_services(
    root: Path = DEFAULT_ROOT,
    ports: ServicePorts | None = None,
    *,
    only: tuple[str, ...] = (),
    attached: bool = True,
    stable_age_seconds: int = 2,
    tell: Callable[[str], None] = print,
) -> Iterator[LocalServices]:
    """The services, ready, for the length of a `with`; those that ran before are used and left running.

    Raises:
        ServiceError: as `LocalServices.up`.
    """
    services = LocalServices(root, ports, attached=attached, stable_age_seconds=stable_age_seconds, tell=tell)
    started = services.up(*only)
    try:
        yield services
    finally:
        if started:
            services.down(*started)


def _ports_in_use(root: Path) -> ServicePorts:
    running = (process.recall(file) for file in root.glob("*/process.json"))
    return ServicePorts(**{name: port for it in running if it and it.is_alive() for name, port in it.ports.items()})


def _refuse_taken_ports(service: Service) -> None:
    for name, port in service.ports.items():
        if not is_free(port):
            raise ServiceError(
                f"port {port} ({name}) is taken by {holder(port)}. Stop that, or choose another port: set {SETTING[name]}"
            )


def _await_free(ports: Mapping[str, int]) -> None:
    """A killed process may hold its ports for a moment longer; whoever starts it again wants them."""
    end = time.monotonic() + _RELEASE_SECONDS
    while not all(is_free(port) for port in ports.values()) and time.monotonic() < end:
        time.sleep(_ASK_AGAIN_SECONDS)


def _in_words(ports: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {port}" for name, port in ports.items())

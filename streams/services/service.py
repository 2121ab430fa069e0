"""What every local service is: a folder, ports, a command, and a way to tell that it answers."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path


class ServiceError(Exception):
    """A local service cannot be built, started or reached; the message says what to do about it."""


class Service(ABC):
    """One service in a folder of its own; `prepare` and `command` may be called again and again."""

    name: str

    def __init__(self, root: Path, ports: dict[str, int]) -> None:
        self.folder = root / self.name
        self.data = self.folder / "data"
        self.log = self.folder / f"{self.name}.log"
        self.process_file = self.folder / "process.json"
        self.ports = ports

    @property
    @abstractmethod
    def address(self) -> str:
        """What a client is given."""

    def build(self, tell: Callable[[str], None]) -> None:  # noqa: B027 - only the Java services are built
        """Fetch and compile what is not installed."""

    @abstractmethod
    def prepare(self) -> None:
        """Write the configuration, and format the data folder when it is new."""

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it does its work now, not merely accept connections; answers within seconds."""


def program(name: str) -> str:
    """The full path of an installed program; daemons lie in sbin, which is not on every user's PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ServiceError(f"{name} is not installed: run `make setup`")
    return found


def java(folder: Path, *flags: str) -> list[str]:
    """A Java command that starts quickly and leaves nothing outside `folder`, even when it is killed."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
    return [program("java"), *quick, "-XX:-UsePerfData", f"-Djava.io.tmpdir={scratch}", *flags]

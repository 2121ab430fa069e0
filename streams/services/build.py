"""The Java parts are fetched and built by Maven once, and again only when their sources change."""

import fcntl
import hashlib
import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

from streams.services.service import ServiceError

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
_RETRIES = ["-Dmaven.wagon.http.retryHandler.count=4", "-Daether.connector.http.retryHandler.count=4"]


def sources_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of `pom.xml` and `src/`."""
    digest = hashlib.sha256()
    for file in [folder / "pom.xml", *sorted(path for path in (folder / "src").rglob("*") if path.is_file())]:
        digest.update(f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def ensure_built(name: str, tell: Callable[[str], None]) -> Path:
    """As `maven_package`, of `deploy/NAME`."""
    return maven_package(DEPLOY / name, tell)


def maven_package(folder: Path, tell: Callable[[str], None]) -> Path:
    """Return `folder/target`, built if it is missing or older than its sources.

    Raises:
        ServiceError: no Maven, not a source checkout, or Maven failed; the message says what to do.
    """
    name = folder.name
    if not (folder / "pom.xml").exists():
        raise ServiceError(f"{folder} is missing: the local services start from a source checkout")
    with (folder / "pom.xml").open() as lock:  # one build at a time: tests and a demo may start together
        fcntl.flock(lock, fcntl.LOCK_EX)
        target, stamp, digest = folder / "target", folder / "target" / "sources.sha256", sources_digest(folder)
        if stamp.exists() and stamp.read_text() == digest:
            return target
        if shutil.which("mvn") is None:
            raise ServiceError("Maven is not installed: run `make setup`")
        tell(f"building {name} with Maven (once; the first time it downloads)")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        log = target / "maven.log"
        with log.open("wb") as output:
            built = subprocess.run(
                ["mvn", "--batch-mode", "--no-transfer-progress", *_RETRIES, "package"],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
            )  # fmt: skip
        if built.returncode != 0:
            raise ServiceError(f"Maven could not build {name}:\n{last_lines(log)}\nAll of it: {log}")
        stamp.write_text(digest)
    return target


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log file, indented; it goes to the person who started the service, not into our own logs."""
    with log.open(errors="replace") as lines:
        return "".join(f"    {line}" for line in deque(lines, count)).rstrip()

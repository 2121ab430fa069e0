"""A real S3 server, versitygw (Apache-2.0), over a folder: built by Go once per machine and version."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.services import process
from streams.services.build import last_lines
from streams.services.probes import LOOPBACK, free_ports, is_free
from tests.conftest import absent

_MODULE, _VERSION = "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"
_BUILT = Path(__file__).parents[2] / "var" / "services" / "versitygw" / _VERSION
#: it needs 1.25; one from 1.21 on fetches that by itself
_GO_PLACES = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent), "/usr/local/go/bin"])

ACCESS_KEY, SECRET_KEY, BUCKET = "radstream-test", "a-secret-of-the-tests", "pictures"


def _versitygw() -> Path:
    """The program; 90 s and 60 MB of sources when it is built for the first time."""
    _BUILT.mkdir(parents=True, exist_ok=True)
    with (_BUILT / "lock").open("w") as lock:  # two test runs may start together
        fcntl.flock(lock, fcntl.LOCK_EX)
        program = _BUILT / "versitygw"
        if not program.exists():
            go = shutil.which("go", path=_GO_PLACES)
            if go is None:
                absent("Go, which builds the S3 server versitygw,")
            environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(_BUILT)}
            built = subprocess.run(
                [str(go), "install", "-trimpath", "-ldflags=-s -w", f"{_MODULE}@{_VERSION}"],
                env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if built.returncode != 0:
                absent(f"the S3 server versitygw (go install: {built.stderr[-2000:]})")
        return program


@dataclass
class S3Server:
    """Its buckets are the folders in `data`."""

    folder: Path
    port: int

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Until the end of the block."""
        data, log = self.folder / "data", self.folder / "versitygw.log"
        (data / BUCKET).mkdir(parents=True, exist_ok=True)
        keys = [f"--access={ACCESS_KEY}", f"--secret={SECRET_KEY}"]
        command = [str(_versitygw()), f"--port={LOOPBACK}:{self.port}", "--quiet", *keys, "posix", str(data)]
        server = process.start(command, self.folder, log, {"s3": self.port}, attached=True)
        try:
            end = time.monotonic() + 30
            while is_free(self.port):
                assert server.is_alive() and time.monotonic() < end, last_lines(log)
                time.sleep(0.02)  # another process binds a port: there is no event to await
            yield
        finally:
            server.stop(kill=True)


def s3_server(folder: Path) -> S3Server:
    """On a free port, not yet running."""
    return S3Server(folder, free_ports(1)[0])

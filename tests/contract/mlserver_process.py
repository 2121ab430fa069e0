"""MLServer (PyPI), an inference server of others, as a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import requests

_START_S, _STOP_S = 120, 20
_ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as one:
        port: int = one.getsockname()[1]
        return port


@contextmanager
def mlserver(folder: Path, name: str, version: str | None, network: str, port: int | None = None) -> Iterator[str]:
    """Address of a server with one model; `network` as of NetworkRuntime."""
    port, folder = port or free_port(), folder / f"{name}-{version}"
    folder.mkdir()
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
    }
    model = {
        "name": name,
        "implementation": "tests.contract.mlserver_runtime.NetworkRuntime",
        "parameters": {"version": version, "extra": {"network": network}},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlserver.cli.main", "start", str(folder)],
            cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        _await_ready(f"{url}/v2/models/{name}/ready", process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)  # nobody tells when it listens
    raise RuntimeError(f"MLServer has not started: {log.read_text()[-2000:]}")

"""Fixtures that every level shares. A service that is absent fails under REQUIRE_SERVICES=1 and skips elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def absent(what: str) -> None:
    """Fail where everything must be there, skip with a clear message elsewhere."""
    message = f"{what} is absent"
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(message + " and REQUIRE_SERVICES=1 forbids to skip")
    pytest.skip(message)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project (never committed): see its README."""
    folder = Path(os.environ.get("RADSTREAM_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "README.md").exists():
        pytest.skip(f"real data is absent: no README.md in {folder} (set RADSTREAM_SHARED_DATA)")
    return folder


def _service(name: str) -> str:
    """Address of a running service, by environment for development: RADSTREAM_TEST_KAFKA=127.0.0.1:9092 ..."""
    address = os.environ.get(f"RADSTREAM_TEST_{name}")
    if not address:
        absent(f"service {name}")
    assert address
    return address


@pytest.fixture(scope="session")
def kafka_bootstrap() -> str:
    """host:port of a real Kafka."""
    return _service("KAFKA")


@pytest.fixture(scope="session")
def orthanc_url() -> str:
    """http://host:port of a real Orthanc; DICOMweb is at /dicom-web."""
    return _service("ORTHANC")


@pytest.fixture(scope="session")
def fhir_url() -> str:
    """Base URL (.../fhir) of a real HAPI FHIR R4 server."""
    return _service("FHIR")

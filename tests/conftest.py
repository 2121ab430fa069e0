"""Fixtures that every level shares. A service that is absent fails under REQUIRE_SERVICES=1 and skips elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from streams.services import LocalServices, ServiceError, ServicePorts

#: how long an example takes says nothing on machines that others keep busy: a test that hangs has pytest's own limit
settings.register_profile("radstream", deadline=None)
settings.load_profile("radstream")


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


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """The local services of this test run, each started by the first fixture that asks for it; gone at its end."""
    local = LocalServices(tmp_path_factory.mktemp("services"), ServicePorts.free(), attached=True, stable_age_seconds=1)
    yield local
    local.down()


def _address(services: LocalServices, name: str, address: str) -> str:
    """A running service: RADSTREAM_TEST_KAFKA=127.0.0.1:9092 (or _ORTHANC, _FHIR) names one that runs already."""
    if running := os.environ.get(f"RADSTREAM_TEST_{name.upper()}"):
        return running
    try:
        services.up(name)
    except ServiceError as error:
        absent(f"{name} ({error})")
    return address


@pytest.fixture(scope="session")
def kafka_bootstrap(services: LocalServices) -> str:
    """host:port of a real Kafka."""
    return _address(services, "kafka", services.kafka_bootstrap)


@pytest.fixture(scope="session")
def orthanc_url(services: LocalServices) -> str:
    """http://host:port of a real Orthanc; DICOMweb is at /dicom-web."""
    return _address(services, "orthanc", services.orthanc_url)


@pytest.fixture(scope="session")
def fhir_url(services: LocalServices) -> str:
    """Base URL (.../fhir) of a real HAPI FHIR R4 server."""
    return _address(services, "fhir", services.fhir_url)

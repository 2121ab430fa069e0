"""docker-compose.yml: valid, on loopback alone, and the same services with the same settings as without containers."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.services import ServicePorts
from streams.services.kafka import properties
from streams.services.orthanc import configuration
from streams.settings import Settings, read_settings

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"])


def test_docker_compose_itself_finds_it_valid() -> None:
    if shutil.which("docker-compose") is None:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail("docker-compose is not installed: run `make setup`")
        pytest.skip("docker-compose is not installed")
    checked = subprocess.run(["docker-compose", "config", "--quiet"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_it_starts_the_three_services_and_the_engine_each_with_a_health_check(services: dict[str, Any]) -> None:
    assert set(services) == {"kafka", "orthanc", "fhir", "engine"}
    assert all(service["healthcheck"]["test"] for service in services.values())
    assert services["engine"]["depends_on"] == {name: {"condition": "service_healthy"} for name in ("kafka", "orthanc", "fhir")}


def test_what_it_builds_is_there(services: dict[str, Any]) -> None:
    for service in services.values():
        build = service.get("build", {})
        file = Path(build) / "Dockerfile" if isinstance(build, str) else Path(build.get("dockerfile", "docker-compose.yml"))
        assert (PROJECT / file).is_file()


def test_ports_are_the_default_ones_on_loopback(services: dict[str, Any]) -> None:
    published = [port.split(":") for service in services.values() for port in service["ports"]]
    assert {address for address, _, _ in published} == {"127.0.0.1"}
    expected = set(ServicePorts().model_dump().values()) - {ServicePorts().kafka_controller} | {Settings().mllp.port}
    assert {int(port) for _, port, _ in published} == expected


def test_the_engine_s_environment_is_read_as_it_is_meant(services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    sections = Settings()
    for name, value in services["engine"]["environment"].items():
        section, _, field = name.removeprefix("RADSTREAM_").lower().partition("__")
        assert field in type(getattr(sections, section)).model_fields, name
        monkeypatch.setenv(name, value)
    settings = read_settings()
    assert settings.kafka.bootstrap == "kafka:19092"
    assert settings.archive.dicomweb_url == f"{settings.archive.orthanc_url}/dicom-web" == "http://orthanc:8042/dicom-web"
    assert settings.fhir.url == "http://fhir:8090/fhir"
    assert settings.mllp.host == "0.0.0.0"


def test_kafka_in_a_container_has_the_limits_of_kafka_without(services: dict[str, Any]) -> None:
    without = dict(line.split("=", 1) for line in properties(ServicePorts(), Path("/data")).splitlines())
    inside = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in services["kafka"]["environment"].items()
    }
    differ = {name for name in inside.keys() & without.keys() if inside[name] != without[name]}
    assert differ == {
        "listeners",
        "advertised.listeners",
        "listener.security.protocol.map",
        "inter.broker.listener.name",
        "log.dirs",
    }
    assert inside["message.max.bytes"] == without["message.max.bytes"]


def test_orthanc_in_a_container_differs_only_in_who_may_call() -> None:
    inside = json.loads((PROJECT / "deploy" / "orthanc" / "container.json").read_text())
    without = configuration(ServicePorts(), Path("/var/lib/orthanc/db"), stable_age_seconds=2)
    # in its container everybody is remote; the port is published on loopback alone
    assert inside == {**without, "RemoteAccessAllowed": True, "LuaScripts": []}

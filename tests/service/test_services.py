"""The real local services: they do their work, keep to this machine, and leave nothing behind."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import KafkaError
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from streams.services import LocalServices, ServiceError, ServicePorts, probes, running_services
from streams.topics import RECORD_LIMIT
from tests.service.away import away

pytestmark = pytest.mark.service

SUCCESS = 0x0000  #: PS3.7 annex C.1.1


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    with running_services(tmp_path_factory.mktemp("services"), ServicePorts.free(), stable_age_seconds=1) as started:
        yield started


@pytest.fixture(scope="module")
def other_address() -> str:
    """An address of this machine that is not loopback (no packet is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect(("192.0.2.1", 9))  # TEST-NET-1, RFC 5737
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(route.getsockname()[0])


def test_all_are_ready(services: LocalServices) -> None:
    assert {service.name: service.state for service in services.status()} == dict.fromkeys(("kafka", "orthanc", "fhir"), "ready")


def test_kafka_takes_a_record_near_the_limit_and_creates_no_topic_by_itself(services: LocalServices) -> None:
    create_topic(services, "largest")
    value = os.urandom(RECORD_LIMIT - 1024)
    producer = KafkaProducer(bootstrap_servers=services.kafka_bootstrap, max_request_size=RECORD_LIMIT, max_block_ms=3_000)
    try:
        producer.send("largest", value).get(20)
        with pytest.raises(KafkaError):
            producer.send("misspelt", b"").get(5)
    finally:
        producer.close()
    assert read_one(services, "largest") == value


async def test_kafka_killed_comes_back_with_what_it_acknowledged(services: LocalServices) -> None:
    create_topic(services, "kept")
    producer = KafkaProducer(bootstrap_servers=services.kafka_bootstrap, acks="all")
    producer.send("kept", b"acknowledged").get(20)
    producer.close()
    async with away(services, "kafka"):
        assert services.status("kafka")[0].state == "stopped"
    assert read_one(services, "kept") == b"acknowledged"


def test_orthanc_stores_from_any_title_and_says_when_a_study_is_stable(services: LocalServices) -> None:
    study = generate_uid()
    assert store("127.0.0.1", services.ports.orthanc_dicom, study) == SUCCESS
    found = requests.get(f"{services.dicomweb_url}/studies?StudyInstanceUID={study}", timeout=5).json()
    assert [entry["0020000D"]["Value"] for entry in found] == [[study]]
    until(lambda: stable_studies(services) == [study], "StableStudy in /changes")


def test_nobody_from_another_machine_gets_in(services: LocalServices, other_address: str) -> None:
    for port in (services.ports.kafka, services.ports.kafka_controller, services.ports.fhir):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((other_address, port), timeout=2)
    assert requests.get(f"http://{other_address}:{services.ports.orthanc_http}/system", timeout=5).status_code in (401, 403)
    study = generate_uid()
    store(other_address, services.ports.orthanc_dicom, study)  # Orthanc answers, and drops it
    assert requests.get(f"{services.dicomweb_url}/studies?StudyInstanceUID={study}", timeout=5).json() == []


def test_the_fhir_server_refuses_what_it_does_not_know_and_keeps_a_version(services: LocalServices) -> None:
    device = {"resourceType": "Device", "id": "4f1c9b0e-0000-5000-8000-000000000001"}
    url = f"{services.fhir_url}/Device/{device['id']}"
    assert requests.put(url, json={**device, "misspelt": True}, timeout=30).status_code == 400
    assert requests.put(url, json=device, timeout=30).status_code == 201
    assert requests.put(url, json=device, timeout=30).json()["meta"]["versionId"] == "1"


def test_killing_the_parent_leaves_nothing_behind(tmp_path: Path) -> None:
    ports = ServicePorts.free()
    code = f"""
from pathlib import Path
from streams.services import ServicePorts, running_services
ports = ServicePorts.model_validate_json({ports.model_dump_json()!r})
with running_services(Path({str(tmp_path)!r}), ports, only=("kafka", "orthanc")):
    print("up", flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert "up\n" in iter(parent.stdout.readline, "")
        assert processes_of(tmp_path)
        parent.kill()
    until(lambda: not processes_of(tmp_path), "every process has ended", seconds=30)
    assert all(probes.is_free(port) for port in ports.model_dump().values())
    assert {service.state for service in LocalServices(tmp_path, ports).status("kafka", "orthanc")} == {"died"}


def test_detached_they_stay_until_down_and_keep_their_data_on_other_ports(tmp_path: Path) -> None:
    """Kafka's quorum remembers its controller's address: another port must not lock it out of its own data."""
    first, second = ServicePorts.free(), ServicePorts.free()
    command(tmp_path, "up", "kafka", ports=first)
    assert command(tmp_path, "status", "kafka", "--json")[0]["state"] == "ready"
    services = LocalServices(tmp_path, first)
    create_topic(services, "kept")
    assert services.up("kafka") == []  # it runs already
    with pytest.raises(ServiceError, match="with other ports"):
        LocalServices(tmp_path, second).up("kafka")
    command(tmp_path, "down")
    assert not processes_of(tmp_path)
    with running_services(tmp_path, second, only=("kafka",)) as services:
        admin = KafkaAdminClient(bootstrap_servers=services.kafka_bootstrap)
        assert "kept" in {topic["name"] for topic in admin.describe_topics()}
        admin.close()


def command(root: Path, *words: str, ports: ServicePorts | None = None) -> list[dict[str, object]]:
    environment = {**os.environ, "RADSTREAM_SERVICES__ROOT": str(root)}
    if ports:
        environment["RADSTREAM_KAFKA__BOOTSTRAP"] = f"127.0.0.1:{ports.kafka}"
        environment["RADSTREAM_SERVICES__KAFKA_CONTROLLER_PORT"] = str(ports.kafka_controller)
    command = [sys.executable, "-m", "streams.services.commands", *words]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=True
    )
    assert "\x1b" not in done.stdout  # no terminal, so no progress display
    return json.loads(done.stdout) if "--json" in words else []


def create_topic(services: LocalServices, name: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=services.kafka_bootstrap)
    admin.create_topics([NewTopic(name, 1, 1, topic_configs={"max.message.bytes": str(RECORD_LIMIT)})])
    admin.close()


def read_one(services: LocalServices, topic: str) -> bytes:
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=services.kafka_bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=20_000,
        max_partition_fetch_bytes=RECORD_LIMIT,
    )
    try:
        return bytes(next(consumer).value)
    finally:
        consumer.close()


def store(address: str, port: int, study: str) -> int | None:
    """C-STORE of one image without pixels; the status, or None when there was no answer."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = study, generate_uid()
    image.PatientID, image.Modality = "TEST", "CR"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    unknown = AE(ae_title="NOBODY")
    unknown.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    association = unknown.associate(address, port)
    assert association.is_established
    try:
        answer = association.send_c_store(image)
        return int(answer.Status) if "Status" in answer else None
    finally:
        association.release()


def stable_studies(services: LocalServices) -> list[str]:
    changes = requests.get(f"{services.orthanc_url}/changes?limit=1000", timeout=5).json()["Changes"]
    stable = [change["Path"] for change in changes if change["ChangeType"] == "StableStudy"]
    tags = [requests.get(services.orthanc_url + path, timeout=5).json()["MainDicomTags"] for path in stable]
    return [tag["StudyInstanceUID"] for tag in tags]


def processes_of(root: Path) -> list[str]:
    """The processes whose command line names this folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"{root}/".encode() in file.read_bytes():
                found.append(file.parent.name)
        except OSError:  # it has just ended
            continue
    return found


def until(condition: Callable[[], bool], what: str, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.1)

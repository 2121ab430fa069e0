"""The local services, without starting them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.services import LocalServices, ServiceError, ServicePorts, build, process
from streams.services.commands import services_app
from streams.services.kafka import properties
from streams.services.orthanc import configuration
from streams.services.probes import holder, is_free
from streams.settings import read_settings
from streams.topics import RECORD_LIMIT

PORTS = ServicePorts(kafka=1001, kafka_controller=1002, orthanc_http=1003, orthanc_dicom=1004, fhir=1005)


def silent(_line: str) -> None: ...


def test_kafka_listens_on_loopback_only_and_takes_the_largest_record() -> None:
    lines = dict(line.split("=", 1) for line in properties(PORTS, Path("/data")).splitlines())
    assert re.findall(r"//([^:]+):(\d+)", lines["listeners"]) == [("127.0.0.1", "1001"), ("127.0.0.1", "1002")]
    assert lines["advertised.listeners"] == lines["listeners"]
    assert int(lines["message.max.bytes"]) >= RECORD_LIMIT
    assert lines["auto.create.topics.enable"] == "false"
    assert lines["log.dirs"] == "/data"


def test_orthanc_refuses_other_machines_and_takes_every_transfer_syntax() -> None:
    settings = configuration(PORTS, Path("/data"), stable_age_seconds=3)
    assert settings["RemoteAccessAllowed"] is False
    assert settings["AuthenticationEnabled"] is False  # bearable because of the line above
    assert settings["AcceptedTransferSyntaxes"] == ["1.2.840.10008.1.*"]
    assert (settings["HttpPort"], settings["DicomPort"], settings["StableAge"]) == (1003, 1004, 3)
    assert [Path(script).name for script in settings["LuaScripts"]] == ["loopback.lua"]  # type: ignore[attr-defined]


def test_free_ports_differ_and_are_free() -> None:
    ports = ServicePorts.free().model_dump().values()
    assert len(set(ports)) == 5
    assert all(is_free(port) for port in ports)


def test_the_services_listen_where_the_settings_look_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_KAFKA__BOOTSTRAP", "127.0.0.1:1001")
    monkeypatch.setenv("RADSTREAM_SERVICES__KAFKA_CONTROLLER_PORT", "1002")
    monkeypatch.setenv("RADSTREAM_ARCHIVE__ORTHANC_URL", "http://localhost:1003")
    monkeypatch.setenv("RADSTREAM_SERVICES__ORTHANC_DICOM_PORT", "1004")
    monkeypatch.setenv("RADSTREAM_FHIR__URL", "http://127.0.0.1:1005/fhir")
    assert ServicePorts.of(read_settings()) == PORTS


def test_a_server_of_another_machine_moves_no_local_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_KAFKA__BOOTSTRAP", "broker.hospital.example:1,other.hospital.example:2")
    monkeypatch.setenv("RADSTREAM_KAFKA__ALLOW_PLAINTEXT_BEYOND_LOOPBACK", "true")
    monkeypatch.setenv("RADSTREAM_FHIR__URL", "https://fhir.hospital.example/r4")
    assert ServicePorts.of(read_settings()) == ServicePorts()


def test_a_taken_port_names_its_holder_and_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        ports = ServicePorts.free().model_copy(update={"orthanc_http": taken})
        with pytest.raises(ServiceError) as refused:
            LocalServices(tmp_path, ports, tell=silent).up("orthanc")
    message = str(refused.value)
    assert f"port {taken} (orthanc_http) is taken by" in message
    assert f"process {os.getpid()}" in message
    assert "RADSTREAM_ARCHIVE__ORTHANC_URL" in message
    assert not (tmp_path / "orthanc" / "process.json").exists()


def test_the_holder_of_a_port_on_all_addresses_is_found_too() -> None:
    with socket.create_server(("", 0)) as somebody:
        port = somebody.getsockname()[1]
        assert not is_free(port)
        assert holder(port).endswith(f"process {os.getpid()}")


def test_an_unknown_service_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="there is no service postgres: kafka, orthanc, fhir"):
        LocalServices(tmp_path, tell=silent).down("postgres")


class TestBuild:
    @pytest.fixture
    def sources(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A project for Maven, and a Maven that counts how often it is called (the real one: tests/service)."""
        folder = tmp_path / "deploy" / "thing"
        (folder / "src").mkdir(parents=True)
        (folder / "pom.xml").write_text("<project/>")
        (folder / "src" / "A.java").write_text("class A {}")
        maven = tmp_path / "bin" / "mvn"
        maven.parent.mkdir()
        maven.write_text('#!/bin/sh\necho built >> ../calls\ntest ! -e src/Broken.java || { echo "cannot find symbol"; exit 1; }\n')
        maven.chmod(0o755)
        monkeypatch.setenv("PATH", f"{maven.parent}:{os.environ['PATH']}")
        monkeypatch.setattr(build, "DEPLOY", tmp_path / "deploy")
        return folder

    def calls(self, sources: Path) -> int:
        return len((sources.parent / "calls").read_text().splitlines())

    def test_builds_once_and_again_only_when_a_source_changes(self, sources: Path) -> None:
        build.ensure_built("thing", silent)
        build.ensure_built("thing", silent)
        assert self.calls(sources) == 1
        (sources / "src" / "A.java").write_text("class A { }")
        build.ensure_built("thing", silent)
        assert self.calls(sources) == 2

    def test_moving_bytes_between_files_changes_the_digest(self, sources: Path) -> None:
        before = build.sources_digest(sources)
        (sources / "src" / "A.java").rename(sources / "src" / "B.java")
        assert build.sources_digest(sources) != before

    def test_a_failure_shows_what_maven_said_and_is_tried_again(self, sources: Path) -> None:
        (sources / "src" / "Broken.java").write_text("")
        for _ in range(2):
            with pytest.raises(ServiceError, match="cannot find symbol"):
                build.ensure_built("thing", silent)
        assert self.calls(sources) == 2
        (sources / "src" / "Broken.java").unlink()
        assert build.ensure_built("thing", silent) == sources / "target"

    def test_without_sources_it_says_so(self, sources: Path) -> None:
        with pytest.raises(ServiceError, match="source checkout"):
            build.ensure_built("other", silent)


class TestProcess:
    def start(self, folder: Path, *command: str, attached: bool = False) -> process.RunningProcess:
        return process.start(list(command), folder, folder / "it.log", {"it": 1}, attached=attached)

    def test_is_remembered_stopped_and_then_gone(self, tmp_path: Path) -> None:
        self.start(tmp_path, "sleep", "60").remember(tmp_path / "process.json")
        running = process.recall(tmp_path / "process.json")
        assert running is not None
        assert running.is_alive()
        running.stop()
        assert not running.is_alive()

    def test_is_killed_when_it_ignores_the_request(self, tmp_path: Path) -> None:
        running = self.start(tmp_path, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
        await_text(tmp_path / "it.log", "ready")
        running.stop(grace_seconds=0.3)
        assert not running.is_alive()

    def test_an_id_that_belongs_to_somebody_else_now_is_left_alone(self) -> None:
        with subprocess.Popen(["sleep", "60"]) as somebody:
            stale = process.RunningProcess(somebody.pid, 1, {})
            assert not stale.is_alive()
            stale.stop(kill=True)
            assert somebody.poll() is None
            somebody.kill()

    def test_attached_passes_the_request_on_and_its_output_lands_in_the_log(self, tmp_path: Path) -> None:
        running = self.start(
            tmp_path, "sh", "-c", "trap 'echo ended in order; exit' TERM; echo ready; while :; do sleep 0.1; done", attached=True
        )
        await_text(tmp_path / "it.log", "ready")
        running.stop()
        assert "ended in order" in (tmp_path / "it.log").read_text()

    def test_a_request_that_comes_at_once_is_passed_on_too(self, tmp_path: Path) -> None:
        """The command is there, and its tether has had no time yet to listen for TERM."""
        code = f"""
import os, subprocess, sys, time
from streams.services import tether
start = subprocess.Popen
subprocess.Popen = lambda *args, **more: (start(*args, **more), time.sleep(1))[0]
sys.exit(tether.main({os.getpid()}, 10, ["sh", "-c", sys.argv[1]]))
"""
        script = "trap 'echo ended in order; exit' TERM; echo ready; while :; do sleep 0.1; done"
        log = tmp_path / "it.log"
        with log.open("wb") as output, subprocess.Popen([sys.executable, "-c", code, script], stdout=output) as slow:
            await_text(log, "ready")
            slow.terminate()
            slow.wait(10)
        assert "ended in order" in log.read_text()

    @pytest.mark.parametrize("victim", ["parent", "tether"])
    def test_attached_ends_when_its_parent_or_its_tether_is_killed(self, tmp_path: Path, victim: str) -> None:
        """The parent starts it from a thread that ends at once: that alone must not end the service."""
        code = f"""
import pathlib, threading, time
from streams.services import process
def start():
    command = ["sh", "-c", "echo pid $$; exec sleep 60"]
    folder = pathlib.Path({str(tmp_path)!r})
    process.start(command, folder, folder / "it.log", {{}}, attached=True).remember(folder / "process.json")
thread = threading.Thread(target=start)
thread.start()
thread.join()
time.sleep(60)
"""
        with subprocess.Popen([sys.executable, "-c", code]) as parent:
            await_text(tmp_path / "process.json", "start_ticks")
            service = int(await_text(tmp_path / "it.log", "pid ").split()[1])
            time.sleep(0.3)  # long enough for a signal that must not come
            assert Path(f"/proc/{service}").exists()
            tether = json.loads((tmp_path / "process.json").read_text())["pid"]
            os.kill(parent.pid if victim == "parent" else tether, signal.SIGKILL)
            until(lambda: not Path(f"/proc/{service}").exists(), "the service has ended")
            parent.kill()


class TestCommands:
    def test_status_of_what_never_ran(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(services_app, ["status", "--json", "--root", str(tmp_path)])
        assert result.exit_code == 1  # not ready
        assert {service["name"]: service["state"] for service in json.loads(result.stdout)} == dict.fromkeys(
            ("kafka", "orthanc", "fhir"), "stopped"
        )

    def test_status_notices_a_death(self, tmp_path: Path) -> None:
        (tmp_path / "fhir").mkdir()
        process.RunningProcess(os.getpid(), 1, {"fhir": 1}).remember(tmp_path / "fhir" / "process.json")
        result = CliRunner().invoke(services_app, ["status", "fhir", "--json", "--root", str(tmp_path)])
        assert json.loads(result.stdout)[0]["state"] == "died"

    def test_reset_without_a_terminal_wants_a_word(self, tmp_path: Path) -> None:
        kept = tmp_path / "kafka" / "data"
        kept.mkdir(parents=True)
        assert CliRunner().invoke(services_app, ["reset", "--root", str(tmp_path)]).exit_code == 2
        assert kept.exists()
        assert CliRunner().invoke(services_app, ["reset", "--yes", "--root", str(tmp_path)]).exit_code == 0
        assert not kept.exists()


def await_text(file: Path, text: str) -> str:
    until(lambda: file.exists() and text in file.read_text(), f"{text!r} in {file.name}")
    return file.read_text()


def until(condition, what: str, seconds: float = 10) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)

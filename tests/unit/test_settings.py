"""Settings: read once, frozen, wrong ones named without their values."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from connectors.mllp.codes import Trouble
from schemas.errors import SettingsInvalid
from streams.listener_settings import PeerSettings
from streams.looking import show_case
from streams.settings import Settings, as_environment, read_settings


def test_the_environment_overrules_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "radstream.toml"
    file.write_text('[mllp]\nport = 3000\n[kafka]\nbootstrap = "localhost:9094"\n')
    monkeypatch.setenv("RADSTREAM_CONFIG", str(file))
    monkeypatch.setenv("RADSTREAM_MLLP__PORT", "3001")
    settings = read_settings()
    assert settings.mllp.port == 3001
    assert settings.kafka.bootstrap == "localhost:9094"
    with pytest.raises(ValidationError, match="frozen"):
        settings.mllp.port = 1  # type: ignore[misc]


def test_a_wrong_setting_is_named_but_its_value_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_MLLP__PORT", "s3cret")
    with pytest.raises(SettingsInvalid, match="RADSTREAM_MLLP__PORT") as caught:
        read_settings()
    assert "s3cret" not in str(caught.value)


def test_an_unknown_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "radstream.toml"
    file.write_text("[mllp]\nprot = 3000\n")
    monkeypatch.setenv("RADSTREAM_CONFIG", str(file))
    with pytest.raises(SettingsInvalid, match="RADSTREAM_MLLP__PROT: there is no such setting"):
        read_settings()
    file.write_text("[mllp")
    with pytest.raises(SettingsInvalid, match="is not TOML"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("KAFKA__BOOTSTRAP", "127.0.0.1:9092, broker.hospital:9092"),
        ("ARCHIVE__DICOMWEB_URL", "http://203.0.113.9/dicom-web"),
        ("ARCHIVE__ORTHANC_URL", "http://pacs.hospital:8042"),
        ("FHIR__URL", "http://203.0.113.9/fhir"),
        ("MLLP__HOST", "0.0.0.0"),
    ],
)
def test_plain_text_beyond_loopback_must_be_allowed(monkeypatch: pytest.MonkeyPatch, name: str, address: str) -> None:
    monkeypatch.setenv(f"RADSTREAM_{name}", address)
    with pytest.raises(SettingsInvalid, match="plain text beyond loopback"):
        read_settings()
    monkeypatch.setenv(f"RADSTREAM_{name.split('__')[0]}__ALLOW_PLAINTEXT_BEYOND_LOOPBACK", "true")
    assert read_settings()


def test_tls_goes_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_FHIR__URL", "https://fhir.hospital/fhir")
    assert read_settings().fhir.url == "https://fhir.hospital/fhir"


def test_an_unknown_section_of_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_MLP__PORT", "2576")
    with pytest.raises(SettingsInvalid, match="RADSTREAM_MLP__PORT: there is no such setting"):
        read_settings()


def test_a_file_that_is_asked_for_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_CONFIG", str(tmp_path / "radstraem.toml"))
    with pytest.raises(SettingsInvalid, match=r"RADSTREAM_CONFIG: there is no file .*radstraem\.toml"):
        read_settings()


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('[mllp]\nallowed = ["10.1.2.3/8"]', "RADSTREAM_MLLP__ALLOWED__0: is no network such as"),
        ('[mllp]\nallowed = "10.0.0.0/8"', "RADSTREAM_MLLP__ALLOWED: should be a list"),
        ("[mllp.listeners]\nport = 2600", "RADSTREAM_MLLP__LISTENERS: should be a list"),
        ("mllp = 3", "RADSTREAM_MLLP: should be a section"),
        ('[mllp]\ntls_key = "a"', "RADSTREAM_MLLP: tls_certificate and tls_key go together"),
        ('[mllp]\ncodes = { weather = "error" }', "RADSTREAM_MLLP__CODES__WEATHER: should be 'unreadable', "),
        ('[site]\naccession_number = ["OBR18"]', "RADSTREAM_SITE__ACCESSION_NUMBER__0__VALUE: is no field path such as"),
        ("[mllp]\nport = 0", "RADSTREAM_MLLP__PORT: should be greater than or equal to 1"),
        ("[[mllp.listeners]]\nport = 2600\npeers = [{}]", "RADSTREAM_MLLP__LISTENERS__0__PEERS__0__ADDRESS: is missing"),
    ],
)
def test_what_is_wrong_is_said_once_and_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, told: str) -> None:
    (tmp_path / "radstream.toml").write_text(written)
    monkeypatch.setenv("RADSTREAM_CONFIG", str(tmp_path / "radstream.toml"))
    with pytest.raises(SettingsInvalid) as caught:
        read_settings()
    assert caught.value.reason.startswith(told)
    assert ";" not in caught.value.reason


LISTENERS: list[dict[str, Any]] = [
    {"port": 2576, "allowed": ["10.20.0.0/16", "fd00::/8"], "idle_timeout_s": 3600, "default_charset": "BIG-5"},
    {"port": 2577, "peers": [{"address": "127.0.0.0/8", "return_address": "localhost:6661"}], "connections": 2},
]


def test_another_process_reads_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "radstream.toml"
    file.write_text('[mllp]\nidle_timeout_s = 60\n[site]\naccession_assigner = "RIS"\n')
    monkeypatch.setenv("RADSTREAM_CONFIG", str(file))
    monkeypatch.setenv("RADSTREAM_CORRELATION__ORDER_WAIT_S", "3.5")
    monkeypatch.setenv("RADSTREAM_MLLP__LISTENERS", json.dumps(LISTENERS))
    settings = read_settings()
    again = settings.model_copy(update={"site": settings.site.model_copy(update={"accession_assigner": None})})
    assert len(again.mllp.all) == 3
    for name, value in as_environment(again).items():
        monkeypatch.setenv(name, value)
    assert read_settings() == again, "not what the file says, where something was unset since"


def test_places_and_habits_of_senders_cross_to_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_CONFIG", os.devnull)
    monkeypatch.setenv("RADSTREAM_SITE__ACCESSION_NUMBER", '["OBR-18.1", {"value": "ZAC-1", "assigner": "ZAC-2.3"}]')
    monkeypatch.setenv("RADSTREAM_SITE__SENDERS", '{"RIS|*": {"result_status": {"": "F"}, "patient_identifier": ["PID-2"]}}')
    settings = read_settings()
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert read_settings() == settings
    assert [str(place.value) for place in settings.site.accession_number] == ["OBR-18.1", "ZAC-1"]
    assert settings.site.as_of("RIS", "ANY").result_code("") == "F"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCESSION_NUMBER", '["OBR18"]'),
        ("ACCESSION_NUMBER", "[]"),
        ("STUDY_INSTANCE_UID", '["ZDS-0"]'),
        ("PATIENT_IDENTIFIER", '[{"value": "PID-3", "assigner": "SECRET"}]'),
        ("RESULT_STATUS", '{"Final": "SECRET"}'),
        ("SENDERS", '{"RIS": {}}'),
        ("SENDERS", '{"RIS|H": {"default_charset": "ASCII"}}'),
    ],
)
def test_a_place_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"RADSTREAM_SITE__{name}", value)
    with pytest.raises(SettingsInvalid, match=f"RADSTREAM_SITE__{name}") as caught:
        read_settings()
    assert "SECRET" not in str(caught.value)


def test_the_page_of_settings_is_not_old() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `(RADSTREAM_\w+)` \| `(.*?)` \| [\w`][^|]+ \|$", page, re.MULTILINE)
    assert dict(rows) == {name: value for name, value in as_environment(Settings()).items() if name != "RADSTREAM_CONFIG"}


def test_the_examples_of_the_page_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "radstream.toml").write_text("\n".join(examples))
    monkeypatch.setenv("RADSTREAM_CONFIG", str(tmp_path / "radstream.toml"))
    assert [one.name for one in read_settings().mllp.all] == ["127.0.0.1:2575", "0.0.0.0:2576", "10.20.0.5:2577"]
    site = read_settings().site
    sender = site.as_of("SOMERIS", "ABCHOSP")
    assert (site.default_assigner, sender.default_assigner) == ("HOSPITAL", "ABC")
    assert [site.result_code("addendum"), sender.result_code("addendum"), sender.result_code("final")] == ["ADDENDUM", "C", "F"]


@pytest.mark.parametrize(
    ("listener", "why"),
    [
        ({"port": 2575}, "two listeners on port 2575"),
        ({"port": 2575, "host": "::", "allow_plaintext_beyond_loopback": True}, "two listeners on port 2575"),
        ({"host": "0.0.0.0", "port": 2576}, "plain text beyond loopback"),
        ({"port": 2576, "return_address": "10.0.0.1:6661"}, "plain text beyond loopback"),
        ({"port": 2576, "return_address": "10.0.0.1"}, "is not HOST:PORT"),
        ({"port": 2576, "tls_certificate": "a.pem"}, "go together"),
        ({"port": 2576, "tls_client_ca": "a.pem"}, "needs tls_certificate"),
        ({"port": 2576, "size_limit": 20 * 1024 * 1024}, "LISTENERS__0__SIZE_LIMIT"),
        ({"port": 2576, "allowed": ["hospital"]}, "LISTENERS__0__ALLOWED"),
        ({"port": 2576, "default_charset": "KLINGON"}, "LISTENERS__0__DEFAULT_CHARSET"),
        ({"port": 2576, "listeners": []}, "there is no such setting"),
    ],
)
def test_a_listener_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, listener: dict[str, Any], why: str) -> None:
    monkeypatch.setenv("RADSTREAM_MLLP__LISTENERS", json.dumps([listener]))
    with pytest.raises(SettingsInvalid, match=why):
        read_settings()


def test_one_port_on_two_addresses_is_two_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_MLLP__LISTENERS", '[{"host": "127.0.0.2"}]')
    assert [one.name for one in read_settings().mllp.all] == ["127.0.0.1:2575", "127.0.0.2:2575"]


def test_a_list_that_is_not_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_MLLP__LISTENERS", "[s3cret")
    with pytest.raises(SettingsInvalid, match="RADSTREAM_MLLP__LISTENERS: a list or a map must be JSON") as caught:
        read_settings()
    assert "s3cret" not in str(caught.value)


def test_a_run_folder_that_cannot_be_made_is_named() -> None:
    environment = {**os.environ, "RADSTREAM_RUN_FOLDER": "/proc/radstream"}
    ended = subprocess.run([sys.executable, "-m", "streams", "up"], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "RADSTREAM_RUN_FOLDER: /proc/radstream cannot be made" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_looking_for_a_case_makes_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_DATABASE__URL", f"sqlite:///{tmp_path}/mistyped/radstream.db")
    assert not asyncio.run(show_case(read_settings(), "A1", Console(), as_json=False))
    assert list(tmp_path.iterdir()) == []


def test_a_peer_may_have_other_codes_but_none_that_loses_a_message() -> None:
    codes = PeerSettings.model_validate({"address": "10.0.0.1", "codes": {"content": "reject", "unsupported": "accept"}}).codes
    assert codes == {Trouble.CONTENT: "reject", Trouble.UNSUPPORTED: "accept"}
    for wrong in ({"storage": "accept"}, {"internal": "accept"}, {"content": "AR"}, {"weather": "error"}):
        with pytest.raises(ValidationError):
            PeerSettings.model_validate({"address": "10.0.0.1", "codes": wrong})

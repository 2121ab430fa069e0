"""Settings: read once, frozen, wrong ones named without their values."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from rich.console import Console

from schemas.errors import SettingsInvalid
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


def test_another_process_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_CORRELATION__ORDER_WAIT_S", "3.5")
    settings = read_settings()
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert read_settings() == settings


def test_the_page_of_settings_is_not_old() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    for name, value in as_environment(Settings()).items():
        assert f"| `{name}` | `{value}` |" in page


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

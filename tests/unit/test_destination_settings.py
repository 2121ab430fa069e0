"""Destinations in the settings: any number, each with a name of its own, none in the clear beyond this machine unsaid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from schemas.errors import SettingsInvalid
from schemas.renderings.hl7oruterms import MOST_LINES as LINES_OF_RENDERING
from schemas.renderings.hl7oruterms import OruCharset as CharsetOfRendering
from schemas.renderings.hl7oruterms import OruTerms
from schemas.renderings.labels import LANGUAGES
from schemas.renderings.report_text import LEAST
from streams.destination_settings import LEAST_LIMIT, MOST_LINES, Language, OruCharset, OruDestination
from streams.settings import Settings, as_environment, read_settings

ALL: dict[str, list[dict[str, Any]]] = {
    "fhir": [{"name": "research", "url": "https://research.hospital/fhir", "token_file": "/run/secrets/token"}],
    "archive": [{"name": "pacs"}, {"name": "cloud", "dicomweb_url": "https://cloud/dicom-web", "user": "a", "password_file": "/b"}],
    "oru": [{"name": "ris", "address": "ris.hospital:6661", "tls_ca": "/ca.pem", "language": "zh-TW", "charset": "BIG-5"}],
    "webhook": [{"name": "worklist", "url": "http://127.0.0.1:9000/", "secret_file": "/run/secrets/worklist"}],
}

OAUTH2 = {"oauth2_token_url": "https://login/", "oauth2_client_id": "a", "oauth2_client_secret_file": "/secret"}


def test_without_any_there_is_the_fhir_server() -> None:
    assert Settings().destinations.names == ("fhir",)


def test_they_are_read_from_the_environment_and_cross_to_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, destinations in ALL.items():
        monkeypatch.setenv(f"RADSTREAM_DESTINATIONS__{kind.upper()}", json.dumps(destinations))
    settings = read_settings()
    assert settings.destinations.names == ("fhir", "research", "pacs", "cloud", "ris", "worklist")
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert read_settings() == settings


def test_they_are_read_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "radstream.toml").write_text('[[destinations.oru]]\nname = "ris"\naddress = "localhost:6661"\nlanguage = "en"\n')
    monkeypatch.setenv("RADSTREAM_CONFIG", str(tmp_path / "radstream.toml"))
    assert read_settings().destinations.oru == (OruDestination(name="ris", address="localhost:6661", language="en"),)


@pytest.mark.parametrize(
    ("kind", "destination", "why"),
    [
        ("archive", {}, "ARCHIVE__0__NAME: is missing"),
        ("archive", {"name": "PACS"}, "ARCHIVE__0__NAME: String should match"),
        ("archive", {"name": "fhir"}, "two destinations are called fhir: the section fhir has it"),
        ("archive", {"name": "pacs", "user": "a", "password_file": "/b"}, "without dicomweb_url"),
        ("archive", {"name": "pacs", "dicomweb_url": "https://p/", "user": "a"}, "user and password_file go together"),
        ("archive", {"name": "pacs", **OAUTH2}, "without dicomweb_url"),
        ("archive", {"name": "p", "dicomweb_url": "https://p/", "user": "a", "password_file": "/b", **OAUTH2}, "one of them"),
        ("archive", {"name": "p", "dicomweb_url": "https://p/", "oauth2_client_id": "a"}, "go together"),
        ("archive", {"name": "pacs", "dicomweb_url": "http://10.0.0.1/"}, "plain text beyond loopback"),
        ("fhir", {"name": "f"}, "FHIR__0__URL: is missing"),
        ("fhir", {"name": "f", "url": "http://10.0.0.1/"}, "plain text beyond loopback"),
        ("fhir", {"name": "f", "url": "https://f/", "oauth2_token_url": "https://t/"}, "go together"),
        ("fhir", {"name": "f", "url": "https://f/", "oauth2_scope": "write"}, "needs oauth2_token_url"),
        (
            "fhir",
            {
                "name": "f",
                "url": "https://f/",
                "oauth2_token_url": "http://10.0.0.1/",
                "oauth2_client_id": "a",
                "oauth2_client_secret_file": "/b",
            },
            "plain text beyond loopback",
        ),
        ("oru", {"name": "ris", "address": "ris.hospital"}, "is not HOST:PORT"),
        ("oru", {"name": "ris", "address": "10.0.0.1:6661"}, "plain text beyond loopback"),
        ("oru", {"name": "ris", "address": "localhost:1", "tls_certificate": "/c", "tls_key": "/k"}, "needs tls_ca"),
        ("oru", {"name": "ris", "address": "localhost:1", "field_limit": 100}, "greater than or equal to 380"),
        ("oru", {"name": "ris", "address": "localhost:1", "language": "de"}, "LANGUAGE: should be 'en' or 'zh-TW'"),
        ("webhook", {"name": "w", "url": "https://w/", "secret_file": "/s", "token_file": "/t", **OAUTH2}, "not both"),
        ("webhook", {"name": "w", "url": "https://w/"}, "SECRET_FILE: is missing"),
        ("webhook", {"name": "w", "url": "https://w/", "secret_file": "/s", "tls_key": "/k"}, "tls_certificate and tls_key"),
        ("webhook", {"name": "w", "url": "https://w/", "secret_file": "/s", "secret": "/k"}, "there is no such setting"),
    ],
)
def test_one_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, kind: str, destination: dict[str, Any], why: str) -> None:
    monkeypatch.setenv(f"RADSTREAM_DESTINATIONS__{kind.upper()}", json.dumps([destination]))
    with pytest.raises(SettingsInvalid, match=why):
        read_settings()


def test_a_name_is_given_once_over_all_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_DESTINATIONS__ARCHIVE", '[{"name": "a"}]')
    monkeypatch.setenv("RADSTREAM_DESTINATIONS__ORU", '[{"name": "a", "address": "localhost:1"}]')
    with pytest.raises(SettingsInvalid, match="two destinations are called a: each needs one of its own"):
        read_settings()


def test_in_the_clear_when_it_is_said_in_as_many_words() -> None:
    ris = {"name": "ris", "address": "10.0.0.1:6661", "allow_plaintext_beyond_loopback": True}
    assert OruDestination.model_validate(ris).tls_ca is None


def test_discrepancies_are_told_to_a_web_server_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_DISCREPANCIES__RECEIVER", "worklist")
    with pytest.raises(SettingsInvalid, match="worklist is no webhook among the destinations"):
        read_settings()
    monkeypatch.setenv("RADSTREAM_DESTINATIONS__WEBHOOK", json.dumps(ALL["webhook"]))
    assert read_settings().discrepancies.receiver == "worklist"


def test_the_words_are_those_of_the_renderings() -> None:
    """Which the settings do not load: the listener reads them too."""
    assert get_args(Language) == LANGUAGES
    assert get_args(OruCharset) == get_args(CharsetOfRendering)
    assert (LEAST_LIMIT, MOST_LINES) == (LEAST, LINES_OF_RENDERING)
    same = {"lines": "field_lines", "limit": "field_limit", "unit": "field_unit", "disclaimer": "field_disclaimer"}
    same |= {"status": "unverified", "charset": "charset", "accession_field": "accession_field", "processing_id": "processing_id"}
    ours = OruDestination.model_fields
    assert {name: getattr(OruTerms(), name) for name in same} == {name: ours[own].default for name, own in same.items()}

"""From settings to destinations that can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connectors.fhir import FhirServer
from connectors.reporting.archive import ArchiveReceiver
from connectors.reporting.hl7oru import OruReceiver
from connectors.reporting.webhook import WebhookReceiver
from schemas.errors import SettingsInvalid, Unavailable
from schemas.reporting import ReportingSystem
from streams.destination_settings import (
    ArchiveDestination,
    DestinationSettings,
    FhirDestination,
    FhirSettings,
    OruDestination,
    WebhookDestination,
)
from streams.doctor import examine_destinations
from streams.settings import ArchiveSettings, KafkaSettings, Settings
from streams.topics import FINDINGS, RESULTS
from streams.wiring.clients import fhir_server, without_password
from streams.wiring.destinations import archive_receiver, destinations, oru_receiver, webhook_receiver

NOBODY = "http://127.0.0.1:9"
CLIENT: dict[str, Any] = {
    "oauth2_token_url": f"{NOBODY}/token",
    "oauth2_client_id": "radstream",
    "oauth2_client_secret_file": Path("/nowhere"),
}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    return file


@pytest.fixture
def settings(tmp_path: Path, secret: Path) -> Settings:
    """One of each kind; nobody is there."""
    return Settings(
        run_folder=tmp_path / "run",
        kafka=KafkaSettings(bootstrap="127.0.0.1:9"),
        archive=ArchiveSettings(dicomweb_url=f"{NOBODY}/dicom-web", orthanc_url=None),
        fhir=FhirSettings(url=f"{NOBODY}/fhir"),
        destinations=DestinationSettings(
            fhir=(FhirDestination(name="research", url=f"{NOBODY}/fhir", timeout_s=5),),
            archive=(ArchiveDestination(name="pacs", timeout_s=5),),
            oru=(OruDestination(name="ris", address="127.0.0.1:9", timeout_s=5),),
            webhook=(WebhookDestination(name="worklist", url=NOBODY, secret_file=secret, timeout_s=5),),
        ),
    )


def test_each_reads_what_it_is_told_and_begins_where_it_should(settings: Settings) -> None:
    found = [(one.name, one.topic, one.from_now) for one in destinations(settings)]
    assert found == [
        ("fhir", FINDINGS, False),
        ("research", FINDINGS, True),
        ("pacs", RESULTS, True),
        ("ris", RESULTS, True),
        ("worklist", RESULTS, True),
    ]


async def test_each_is_what_it_is_called(settings: Settings) -> None:
    of = settings.destinations
    made: list[tuple[FhirServer | ReportingSystem, type]] = [
        (fhir_server(of.fhir[0]), FhirServer),
        (archive_receiver(of.archive[0], settings), ArchiveReceiver),
        (oru_receiver(of.oru[0], settings), OruReceiver),
        (webhook_receiver(of.webhook[0]), WebhookReceiver),
    ]
    for receiver, kind in made:
        assert type(receiver) is kind
        await receiver.close()


async def test_nobody_there_is_said_by_each(settings: Settings) -> None:
    for destination in destinations(settings):
        connected = destination.connect()
        with pytest.raises(Unavailable):
            await connected.ask()
        await connected.close()


async def test_the_doctor_has_a_line_for_each(settings: Settings) -> None:
    examined = {one.what: one for one in await examine_destinations(settings)}
    for what, advice in {
        "fhir server": "RADSTREAM_FHIR__URL (now http://127.0.0.1:9/fhir)",
        "to research": "check research in RADSTREAM_DESTINATIONS__FHIR",
        "to pacs": "check pacs in RADSTREAM_DESTINATIONS__ARCHIVE",
        "to ris": "check ris in RADSTREAM_DESTINATIONS__ORU",
        "to worklist": "check worklist in RADSTREAM_DESTINATIONS__WEBHOOK",
    }.items():
        assert not examined[what].well
        assert examined[what].found
        assert advice in examined[what].advice


async def test_the_doctor_names_a_file_that_cannot_be_used(settings: Settings, secret: Path) -> None:
    secret.unlink()
    examined = {one.what: one for one in await examine_destinations(settings)}
    assert f"{secret} cannot be read" in examined["to worklist"].found


@pytest.mark.parametrize(
    "of",
    [
        DestinationSettings(fhir=(FhirDestination(name="a", url=NOBODY, token_file=Path("/nowhere")),)),
        DestinationSettings(archive=(ArchiveDestination(name="a", dicomweb_url=NOBODY, token_file=Path("/nowhere")),)),
        DestinationSettings(archive=(ArchiveDestination(name="a", dicomweb_url=NOBODY, **CLIENT),)),
        DestinationSettings(oru=(OruDestination(name="a", address="127.0.0.1:9", tls_ca=Path("/nowhere")),)),
        DestinationSettings(webhook=(WebhookDestination(name="a", url=NOBODY, secret_file=Path("/nowhere")),)),
    ],
    ids=["fhir", "archive", "archive oauth2", "oru", "webhook"],
)
def test_a_file_that_cannot_be_used_is_named_at_the_start(of: DestinationSettings) -> None:
    *_, one = destinations(Settings(destinations=of))
    with pytest.raises(SettingsInvalid, match="/nowhere"):
        one.connect()


def test_a_password_in_an_address_is_not_shown() -> None:
    assert without_password("https://user:secret@fhir:8443/fhir") == "https://...@fhir:8443/fhir"
    assert without_password("https://user:secret@fhir/fhir") == "https://...@fhir/fhir"
    assert without_password(NOBODY) == NOBODY

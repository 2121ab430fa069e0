"""From settings to destinations that can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from connectors.fhir import FhirServer
from connectors.http_access import HttpAccess
from connectors.reporting.archive import ArchiveReceiver
from connectors.reporting.hl7oru import OruReceiver
from connectors.reporting.webhook import WebhookReceiver
from schemas.errors import AccessRefused, RadstreamError, SettingsInvalid, Unavailable
from schemas.renderings.hl7oru import oru_messages
from schemas.renderings.hl7oruterms import OruTerms
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
from streams.settings import ArchiveSettings, KafkaSettings, Settings, SiteSettings
from streams.topics import FINDINGS, RESULTS
from streams.wiring.clients import fhir_server, http_access, without_password
from streams.wiring.destinations import archive_receiver, destinations, fhir_destination, oru_receiver, webhook_receiver
from tests.contract.example_findings import finding, findings, subject
from tests.contract.oru_ris import ris_server

TAIPEI = ZoneInfo("Asia/Taipei")
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


def test_who_asks_for_a_token_is_entered_as_the_settings_say() -> None:
    own = {"tls_ca": Path("/ca"), "tls_certificate": Path("/c"), "tls_key": Path("/k")}
    with_client = FhirSettings(url="https://f/", **CLIENT, oauth2_scope="write", **own)
    client = {name: CLIENT[f"oauth2_{name}"] for name in ("token_url", "client_id", "client_secret_file")}
    assert http_access(with_client) == HttpAccess(**client, scope="write", **own)
    assert http_access(FhirSettings(url="https://f/", token_file=Path("/t"))) == HttpAccess(token_file=Path("/t"))


async def test_a_ris_is_spoken_to_as_the_settings_say() -> None:
    names: dict[str, Any] = {"sending_application": "A", "sending_facility": "B", "receiving_application": "C"}
    names |= {"receiving_facility": "D", "processing_id": "T", "charset": "BIG-5", "accession_field": 20, "unverified": "P"}
    field: dict[str, Any] = {"field_lines": 12, "field_limit": 380, "field_unit": "bytes", "field_disclaimer": "none"}
    many = findings(subject(4), *map(finding, range(1, 13)))  # their text is cut
    site = SiteSettings(language="zh-TW", time_zone=TAIPEI)
    async with ris_server() as server:
        to = OruDestination(name="ris", address=f"127.0.0.1:{server.port}", **names, **field)
        receiver = oru_receiver(to, Settings(site=site))
        await receiver.tell(many, None)
        await receiver.close()
    terms = OruTerms(
        sender=("A", "B"),
        receiver=("C", "D"),
        processing_id="T",
        charset="BIG-5",
        language="zh-TW",
        status="P",
        accession_field=20,
        time_zone=TAIPEI,
        lines=12,
        limit=380,
        unit="bytes",
        disclaimer="none",
    )
    assert server.ris.messages == list(oru_messages(many, None, terms))


async def test_nobody_there_is_said_by_each(settings: Settings) -> None:
    for destination in destinations(settings):
        connected = destination.connect()
        with pytest.raises(Unavailable):
            await connected.ask()
        await connected.close()


class Reading:
    """A FHIR server that lets nobody write."""

    def __init__(self, version: str) -> None:
        self._version = version

    async def read(self, reference: str) -> dict[str, str]:
        return {"metadata": {"resourceType": "CapabilityStatement", "fhirVersion": self._version}}[reference]

    async def probe(self) -> None:
        raise AccessRefused("fhir", "probe", "HTTP 403")

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize(("version", "why"), [("4.0.1", "HTTP 403"), ("5.0.0", "no FHIR R4 server")])
async def test_a_fhir_server_is_well_when_it_is_r4_and_would_take_a_report(version: str, why: str) -> None:
    with pytest.raises(RadstreamError, match=why):
        await fhir_destination("fhir", lambda: cast(FhirServer, Reading(version))).ask()


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

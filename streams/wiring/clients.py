"""From settings to what speaks with the world outside: archive, servers, database, log, decoders.

Imports are made inside each function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from schemas.errors import SettingsInvalid
from streams import topics
from streams.settings import Settings

if TYPE_CHECKING:
    from connectors.archive_access import ArchiveAccess
    from connectors.case_store import SqlCaseStore
    from connectors.decoding import ProcessDecoder
    from connectors.dicomweb import DicomWebArchive
    from connectors.fhir import FhirServer
    from connectors.film_files import FilmFiles
    from connectors.http_access import HttpAccess
    from connectors.kafka import KafkaLog
    from connectors.kafka_history import KafkaHistory
    from connectors.objects import Objects
    from connectors.rendering import ProcessRenderer
    from schemas.history import History
    from streams.destination_settings import FhirSettings, WithToken


def ensure_all_topics(settings: Settings) -> Sequence[str]:
    """Creates the topics that are missing and returns their names. Raises BrokerUnavailable, SettingsInvalid."""
    from connectors.kafka_admin import TopicSpec, ensure_topics

    specs = [TopicSpec(topic.name, topic.partitions, topic.config) for topic in topics.ALL]
    return ensure_topics(settings.kafka.bootstrap, specs)


def archive_access(settings: Settings) -> ArchiveAccess:
    """Of both addresses of the archive."""
    from connectors.archive_access import ArchiveAccess

    files = (field.name for field in fields(ArchiveAccess) if field.name != "oauth2")
    return ArchiveAccess(**{name: getattr(settings.archive, name) for name in files})


def archive_for(settings: Settings) -> DicomWebArchive:
    """The DICOMweb archive. Raises SettingsInvalid when a file of its credentials or certificates cannot be used."""
    from connectors.dicomweb import DicomWebArchive

    return DicomWebArchive(
        settings.archive.dicomweb_url,
        timeout_s=settings.archive.timeout_s,
        size_limit=settings.archive.size_limit,
        pool_size=settings.archive.connections,
        access=archive_access(settings),
        default_accession_assigner=settings.site.issuer_of_accession_number,
        default_patient_assigner=settings.archive.default_patient_assigner or settings.site.default_assigner,
    )


def fhir_server_for(settings: Settings) -> FhirServer:
    """The FHIR server of the section `fhir`. Raises SettingsInvalid when a file of its credentials or certificates cannot be
    used."""
    return fhir_server(settings.fhir)


def fhir_server(fhir: FhirSettings) -> FhirServer:
    """Any one. Raises as `fhir_server_for`."""
    from connectors.fhir import FhirServer

    return FhirServer(fhir.url, timeout_s=fhir.timeout_s, access=http_access(fhir), pool_size=fhir.connections)


def http_access(entered: WithToken) -> HttpAccess:
    """Of any destination over HTTP that may ask for a token."""
    from connectors.http_access import HttpAccess

    return HttpAccess(
        token_file=entered.token_file,
        token_url=entered.oauth2_token_url,
        client_id=entered.oauth2_client_id,
        client_secret_file=entered.oauth2_client_secret_file,
        scope=entered.oauth2_scope,
        tls_ca=entered.tls_ca,
        tls_certificate=entered.tls_certificate,
        tls_key=entered.tls_key,
    )


def without_password(url: str) -> str:
    """As it may be shown."""
    parts = urlsplit(url)
    if not parts.username:
        return url
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"...@{host}").geturl()


def decoder_for(settings: Settings) -> ProcessDecoder:
    """Decoding processes; to be closed."""
    from connectors.decoding import ProcessDecoder

    decoding = settings.decoding
    return ProcessDecoder(
        workers=decoding.workers,
        timeout_s=decoding.timeout_s,
        memory_limit_bytes=decoding.memory_limit,
        pixel_limit=decoding.pixel_limit,
    )


def renderer_for(settings: Settings) -> ProcessRenderer:
    """One rendering process, with the limits of a decoding one; to be closed."""
    from connectors.rendering import ProcessRenderer

    decoding = settings.decoding
    return ProcessRenderer(
        workers=1,
        timeout_s=decoding.timeout_s,
        memory_limit_bytes=decoding.memory_limit,
        pixel_limit=decoding.pixel_limit,
    )


def film_files_for(settings: Settings, *, workers: int | None = None, inverted: bool = False) -> FilmFiles:
    """Processes that read DICOM, PNG and JPEG files, with the limits of decoding ones; to be closed."""
    from connectors.film_files import FilmFiles

    decoding = settings.decoding
    return FilmFiles(
        workers=workers or decoding.workers,
        timeout_s=decoding.timeout_s,
        memory_limit_bytes=decoding.memory_limit,
        pixel_limit=decoding.pixel_limit,
        inverted=inverted,
    )


def object_store_for(settings: Settings, url: str) -> Objects:
    """What stands behind `objects.url`. Raises SettingsInvalid when it is neither folder nor s3://BUCKET/PREFIX, the folder cannot
    be made or the keys not be read."""
    from connectors.objects import in_folder, on_s3

    objects = settings.objects
    scheme, parted, bucket = url.partition("://")
    if not parted:
        return in_folder(Path(url), timeout_s=objects.timeout_s)
    if scheme != "s3" or bucket.startswith("/") or not bucket:
        raise SettingsInvalid("settings", "RADSTREAM_OBJECTS__URL", "is neither a folder nor s3://BUCKET/PREFIX")
    return on_s3(
        url,
        endpoint=objects.s3_endpoint,
        region=objects.s3_region,
        access_key_file=objects.s3_access_key_file,
        secret_key_file=objects.s3_secret_key_file,
        timeout_s=objects.timeout_s,
    )


def package_folder(url: str) -> Path:
    """A relative path is looked for in the working folder, then where the packages that come with radstream are."""
    path = Path(url)
    return path if path.is_absolute() or path.exists() else Path(__file__).parents[2] / path


def database_is_there(settings: Settings) -> bool:
    """For those who only look: an SQLite file that is absent would be made by opening it. A server is asked when it is used."""
    scheme, _, file = settings.database.url.partition(":///")
    return scheme != "sqlite" or Path(file).exists()


def case_store_for(settings: Settings) -> SqlCaseStore:
    """The database; a missing folder of an SQLite file is made."""
    from connectors.case_store import SqlCaseStore

    url = settings.database.url
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return SqlCaseStore(url)


def log_for(settings: Settings) -> KafkaLog:
    """The event log; to be entered."""
    from connectors.kafka import KafkaLog

    return KafkaLog(settings.kafka.bootstrap, append_timeout_s=settings.kafka.append_timeout_s, record_limit=topics.LARGEST_RECORD)


def live_history_for(settings: Settings) -> KafkaHistory:
    """The topics as the broker has them now, to be read again by their places."""
    from connectors.kafka_history import KafkaHistory

    return KafkaHistory(settings.kafka.bootstrap, record_limit=topics.LARGEST_RECORD)


def history_for(settings: Settings) -> History:
    """Likewise, with what is archived of them, where anything is. Raises SettingsInvalid when the object store cannot be used."""
    return _with_archive(settings, live_history_for(settings))


@asynccontextmanager
async def open_history(settings: Settings) -> AsyncIterator[History]:
    """Likewise, for many looks at a few records: connections are kept until the end of the block."""
    async with live_history_for(settings) as live:
        yield _with_archive(settings, live)


def _with_archive(settings: Settings, live: History) -> History:
    url = settings.segments.url
    if url is None:
        return live
    from streams.segments.history import ArchivedHistory

    return ArchivedHistory(object_store_for(settings, url), live, settings.segments.topics)


@asynccontextmanager
async def log_and_cases(settings: Settings) -> AsyncIterator[tuple[KafkaLog, SqlCaseStore]]:
    """Both, open until the end of the block."""
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(log_for(settings))
        cases = case_store_for(settings)
        stack.push_async_callback(cases.close)
        yield log, cases

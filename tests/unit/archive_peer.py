"""An archive that holds one study, and its bad days."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydicom.dataset import Dataset

from connectors.archive_access import ArchiveAccess
from connectors.dicomweb import DicomWebArchive
from schemas.identifiers import SeriesInstanceUID
from schemas.study_events import ImageReference
from tests.contract.example_images import part10, radiograph, study_of, uid_of
from tests.unit.http_peer import Handler

IMAGE = radiograph(PatientName="Secret^Name", PatientID="SECRET-ID")
STUDY = study_of(IMAGE)
REFERENCE = ImageReference(
    series_instance_uid=SeriesInstanceUID(IMAGE.SeriesInstanceUID),
    sop_instance_uid=uid_of(IMAGE),
    sop_class_uid=str(IMAGE.SOPClassUID),
)
#: long enough for a slow machine
PATIENT_S = 20.0
#: what never ends is waited for so long; a good answer takes less, on a slow machine too
IMPATIENT_S = 2.5
SIZE_LIMIT = 100_000


@asynccontextmanager
async def archive_at(
    url: str,
    *,
    timeout_s: float = PATIENT_S,
    size_limit: int = SIZE_LIMIT,
    pool_size: int = 2,
    access: ArchiveAccess = ArchiveAccess(),
) -> AsyncIterator[DicomWebArchive]:
    archive = DicomWebArchive(
        url,
        timeout_s=timeout_s,
        size_limit=size_limit,
        pool_size=pool_size,
        access=access,
        default_accession_assigner="SITE",
        default_patient_assigner="SITE",
    )
    yield archive
    archive.close()


def multipart(*instances: bytes) -> tuple[str, bytes]:
    body = b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + instance + b"\r\n" for instance in instances)
    return 'multipart/related; type="application/dicom"; boundary=b', body + b"--b--\r\n"


def good(handler: Handler) -> None:
    """An archive that holds IMAGE."""
    if "/instances/" in handler.path and not handler.path.endswith("/metadata"):
        handler.answer(200, *multipart(part10(IMAGE)))
    else:
        handler.answer(200, "application/dicom+json", dicom_json(IMAGE))


def dicom_json(*headers: Dataset) -> bytes:
    found = []
    for header in headers:
        values: dict[str, Any] = header.to_json_dict()
        values.pop("7FE00010", None)
        found.append(values)
    return json.dumps(found).encode()


def always(status: int) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(status, "text/html", b"<html>Secret^Name</html>", Location="/login")


def fails_on_the_study(status: int, otherwise: Callable[[Handler], None]) -> Callable[[Handler], None]:
    return lambda handler: always(status)(handler) if STUDY in handler.path else otherwise(handler)


def cut_short(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 1000\r\n\r\n[]")
    handler.close_connection = True


def hang(handler: Handler) -> None:
    handler.release.wait()
    handler.close_connection = True


def drip_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.release.wait(0.05):
        handler.wfile.write(b"x")


def drip_body(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n\r\n[")
    while not handler.release.wait(0.05):
        handler.wfile.write(b" ")


def drip_chunks(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not handler.release.wait(0.05):
        handler.wfile.write(b"1\r\n \r\n")


def too_large(handler: Handler) -> None:
    handler.answer(200, "application/dicom+json", b" " * (SIZE_LIMIT + 1))


def typed(content_type: str, content: bytes) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(200, content_type, content)

"""DICOM Part 10 files on their way through DICOMweb (PS3.18 8.7): out of an answer, looked at, into a body."""

from __future__ import annotations

import io
import itertools
import uuid
from collections.abc import Sequence

from pydicom.filereader import _read_file_meta_info, read_preamble
from requests_toolbelt import MultipartDecoder

from connectors.archive_connection import Answer
from schemas.errors import InvalidResource

DICOM = "application/dicom"
PART10 = f'multipart/related; type="{DICOM}"'


def single_part(answer: Answer, reference: str) -> bytes:
    if answer.media_type == DICOM:
        return answer.content  # not what was asked for (PS3.18 10.4.4), but some archives send it
    try:
        parts = MultipartDecoder(answer.content, answer.content_type).parts
    except Exception as error:  # noqa: BLE001 - whatever the peer's bytes provoke in the decoder
        raise InvalidResource("fetch", reference, f"the answer is broken multipart ({type(error).__name__})") from None
    if len(parts) != 1:
        raise InvalidResource("fetch", reference, f"{len(parts)} parts instead of one instance")
    part: bytes = parts[0].content
    return part


def media_storage_sop_instance_uid(part10: bytes, reference: str) -> str:
    """(0002,0003). Only the file meta group is read here: the rest is for a process that may die of it."""
    try:
        file = io.BytesIO(part10)
        read_preamble(file, force=False)
        return str(_read_file_meta_info(file).MediaStorageSOPInstanceUID)
    except Exception as error:  # noqa: BLE001 - whatever the file's bytes provoke in pydicom
        raise InvalidResource("fetch", reference, f"not a DICOM file ({type(error).__name__})") from None


def _boundary(instances: Sequence[bytes]) -> bytes:
    """One that no instance contains; the same for the same instances."""
    candidates = (uuid.uuid5(uuid.NAMESPACE_OID, str(attempt)).hex.encode("ascii") for attempt in itertools.count())
    return next(candidate for candidate in candidates if not any(candidate in instance for instance in instances))


def multipart(instances: Sequence[bytes]) -> tuple[bytes, str]:
    """Body and content type of a STOW-RS request."""
    boundary = _boundary(instances)
    body = b"".join(
        b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n" + instance + b"\r\n" for instance in instances
    )
    return body + b"--" + boundary + b"--\r\n", f"{PART10}; boundary={boundary.decode('ascii')}"

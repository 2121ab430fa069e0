"""Radiographs from files, whatever stands in them, read in the processes that decode."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from connectors.decoding import DecodingProcesses
from connectors.decoding_files import Film, read_film
from connectors.dicomweb_study import SERIES_INSTANCE_UID, STUDY_INSTANCE_UID, Assigners, description
from schemas.errors import InvalidResource
from schemas.identifiers import SOPInstanceUID, StudyInstanceUID
from schemas.ports import Radiograph
from schemas.study_ports import StudyDescription

_NOBODY = Assigners("", "")


@dataclass(frozen=True, slots=True)
class DescribedFilm:
    """A radiograph, and its file as an archive would describe a study of that image alone; None: a file without headers."""

    radiograph: Radiograph
    study: StudyDescription | None


class FilmFiles(DecodingProcesses[Film]):
    """Files of DICOM, PNG or JPEG, with the limits of `DecodingProcesses`. `inverted` as of `read_film`."""

    def __init__(
        self, *, workers: int, timeout_s: float, memory_limit_bytes: int, pixel_limit: int, inverted: bool = False
    ) -> None:
        super().__init__(
            workers=workers,
            timeout_s=timeout_s,
            memory_limit_bytes=memory_limit_bytes,
            pixel_limit=pixel_limit,
            function=partial(read_film, inverted=inverted),
        )

    async def read(self, content: bytes) -> DescribedFilm:
        """Raises InvalidResource (no image, broken, too large, too slow, killed its process), Unsuitable (no single projection)."""
        unnamed = uid_of(content)
        film = await self.run(content, unnamed)
        if film.headers is None:
            return DescribedFilm(film.radiograph, None)
        uid = {"vr": "UI", "Value": [unnamed]}  # an export may have left these out; no rule asks for them
        headers = {STUDY_INSTANCE_UID: uid, SERIES_INSTANCE_UID: uid, **film.headers}
        try:
            study = description(StudyInstanceUID(unnamed), [headers], (), headers, _NOBODY)
        except ValueError:
            raise InvalidResource("decode", f"file {unnamed}", "a UID of its headers is none (PS3.5 9.1)") from None
        return DescribedFilm(film.radiograph, study)


def uid_of(content: bytes) -> SOPInstanceUID:
    """For what has none of its own: of its bytes (PS3.5 B.2)."""
    return SOPInstanceUID(f"2.25.{uuid.UUID(bytes=sha256(content).digest()[:16]).int}")

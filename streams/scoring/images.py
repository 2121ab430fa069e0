"""`radstream model score`: what a model says of files, image by image, without archive, log or database.

No file ends the run: what cannot be read, or is not for the model, is a row with a reason. File names may hold names of persons:
they stand in the table, and nowhere else."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from schemas.errors import AccessRefused, InvalidResource, ModelFailed, ModelUnavailable, Unsuitable
from schemas.findings import NotAnalysed
from schemas.ports import FindingModel, Radiograph
from schemas.study_ports import StudyDescription
from streams.scoring.table import Row, not_suitable, seen
from streams.steps.choosing import IntendedUse, StudyHeaders, as_the_rules_read_it, choose, refusal

if TYPE_CHECKING:
    from connectors.film_files import FilmFiles

T = TypeVar("T")
U = TypeVar("U")

#: how the reason of such a row begins
FAULT = "radstream failed on it: please report this"


@dataclass(frozen=True, slots=True)
class Scorer:
    """`size_limit`: largest file in bytes. `ignore_headers`: what they refuse is scored, and its row says so."""

    films: FilmFiles
    model: FindingModel
    use: IntendedUse
    size_limit: int
    ignore_headers: bool = False

    async def score(self, file: str) -> Row:
        """Raises ModelUnavailable and AccessRefused (of a server that holds the model) alone: that is no fault of the file."""
        try:
            content = await asyncio.to_thread(_content, Path(file), self.size_limit)
        except OSError as error:
            return not_suitable(file, f"the file cannot be opened ({type(error).__name__})")
        if content is None:
            return not_suitable(file, f"the file is larger than {self.size_limit} bytes")
        try:
            film = await self.films.read(content)
            refused = _refusal(film.radiograph, film.study, self.use) if film.study is not None else None
            if refused and not self.ignore_headers:
                return not_suitable(file, refused)
            believed = film.study is not None and not refused
            radiograph = (as_the_rules_read_it if believed else as_the_model_takes_it)(film.radiograph, self.use)
            prediction = await self.model.predict(radiograph)
        except (InvalidResource, Unsuitable) as error:
            return not_suitable(file, error.reason)
        except ModelFailed as error:
            return not_suitable(file, f"the model failed: {error.reason}")
        except (ModelUnavailable, AccessRefused):
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours is told in its row and by the exit code, ten thousand others go on
            return not_suitable(file, f"{FAULT} ({type(error).__name__})")
        return seen(file, prediction, f"headers ignored: {refused}" if refused else "")


def _content(path: Path, limit: int) -> bytes | None:
    """None: too large. What grows meanwhile is not read on for ever."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > limit:
            return None
        content = file.read(limit + 1)
        return content if len(content) <= limit else None


def _refusal(radiograph: Radiograph, study: StudyDescription, use: IntendedUse) -> str | None:
    """As `streams.steps.analyse` refuses, both times that it looks at the headers."""
    chosen = choose(study.images, use, StudyHeaders(study.patient_age_years, study.study_description))
    refused = chosen if isinstance(chosen, NotAnalysed) else refusal(radiograph, use)
    return refused.explanation if refused else None


def as_the_model_takes_it(radiograph: Radiograph, use: IntendedUse) -> Radiograph:
    """Without headers, or with such as are ignored, an image is taken for what the model is for."""
    return replace(
        radiograph,
        modality=min(use.modalities, default=None),
        body_part_examined=min(use.body_parts, default=None),
        view_position=min(use.view_positions, default=None) if use.view_required else None,
    )


async def in_order(items: Iterable[T], work: Callable[[T], Awaitable[U]], at_a_time: int) -> AsyncIterator[U]:
    """The results in the order of the items, at most `at_a_time` of them begun and not yet taken."""
    begun: deque[asyncio.Task[U]] = deque()
    try:
        for item in items:
            begun.append(asyncio.ensure_future(_awaited(work(item))))
            if len(begun) >= at_a_time:
                yield await begun.popleft()
        while begun:
            yield await begun.popleft()
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)


async def _awaited(work: Awaitable[U]) -> U:
    return await work

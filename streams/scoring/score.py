"""`radstream model score` on a terminal: the table where it was asked for, progress and summary on standard error."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from schemas.errors import SettingsInvalid
from schemas.findings import DEMONSTRATION
from schemas.ports import FindingModel
from streams.model_settings import ModelSettings
from streams.scoring.files import Listing, listed
from streams.scoring.images import FAULT, Scorer, in_order
from streams.scoring.table import Row, Table, not_suitable
from streams.settings import Settings
from streams.wiring.clients import film_files_for

if TYPE_CHECKING:
    from models.card import Card
    from streams.promotion.models_in_use import InUse

#: decoding processes: one model cannot see more than these read
_MOST_READERS = 4
_STDOUT = Path("-")
_PLAIN_LINE_S = 10.0


@dataclass(slots=True)
class _Tally:
    files: int
    done: int = 0
    suitable: int = 0
    faults: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def count(self, row: Row) -> None:
        self.done += 1
        self.suitable += row.suitable
        self.faults += row.reason.startswith(FAULT)
        if row.reason:
            self.reasons[row.reason] += 1


def with_options(settings: Settings, *, model: str | None, threads: int | None, gate: bool) -> Settings:
    """The settings, with what the command line says instead. Raises SettingsInvalid: no NAME/VERSION."""
    told = settings.models.model_dump()
    told |= {} if model is None else {"use": (model,)}
    told |= {} if threads is None else {"threads": threads}
    told |= {} if gate else {"gate": None}
    try:
        return settings.model_copy(update={"models": ModelSettings.model_validate(told)})
    except ValidationError:
        raise SettingsInvalid("score", "--model", "is not NAME/VERSION, e.g. chest-nodule/2") from None


async def run_score(settings: Settings, named: Sequence[Path], out: Path, *, inverted: bool, ignore_headers: bool) -> bool:
    """True when the table is whole and no row of it is a fault of ours. Raises SettingsInvalid, ModelFailed, ModelUnavailable."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if out != _STDOUT and out.exists() and any(path.is_file() and path.samefile(out) for path in named):
        raise SettingsInvalid("score", "--csv", "is one of the files to be scored")
    listing = listed(named, None if out == _STDOUT else out)
    tally = _Tally(len(listing.files))
    begun = time.monotonic()
    with closing(
        film_files_for(settings, workers=_readers(settings), inverted=inverted)
    ) as films:  # its processes start beside torch
        async with _speaking(settings) as (in_use, card):
            model = in_use.model
            scorer = Scorer(films, model, in_use.intended_use, settings.archive.size_limit, ignore_headers)

            async def row_of(file: str) -> Row:
                refused = listing.refused.get(file)
                return not_suitable(file, refused) if refused else await scorer.score(file)

            with _opened(out) as file, _shown(tally, console) as tell:
                begun = time.monotonic()
                table = Table(file, model.identity, [output.name for output in card.outputs])
                async for row in in_order(listing.files, row_of, _at_a_time(settings)):
                    table.add(row)
                    tally.count(row)
                    tell()
    for line in _lines(tally, listing, model, time.monotonic() - begun):
        console.print(line)
    return not tally.faults


@asynccontextmanager
async def _speaking(settings: Settings) -> AsyncIterator[tuple[InUse, Card]]:
    """The model of the settings in a process of its own, behind their gate; and its card."""
    from models.card import read_card
    from streams.wiring.models import load_in_use, package_store_for

    store, reference = package_store_for(settings), settings.models.use[0]
    card = read_card(await store.folder(reference))
    in_use = await load_in_use(reference, settings=settings, store=store)
    try:
        yield in_use, card
    finally:
        await in_use.close()


def _readers(settings: Settings) -> int:
    """Decoding processes: what the model leaves of the cores."""
    return max(settings.decoding.workers, min(_MOST_READERS, len(os.sched_getaffinity(0)) - settings.models.threads))


def _at_a_time(settings: Settings) -> int:
    """Files begun: so that neither the readers nor the model wait, and memory holds them."""
    return 2 * _readers(settings) + 2 * settings.models.batch


@contextmanager
def _opened(out: Path) -> Iterator[TextIO]:
    """Names that are no UTF-8 are written as the file system has them."""
    where = sys.stdout.fileno() if out == _STDOUT else out
    try:
        file = open(where, "w", encoding="utf-8", errors="surrogateescape", newline="", closefd=out != _STDOUT)  # noqa: SIM115
    except OSError as error:
        raise SettingsInvalid("score", "--csv", f"the table cannot be written there ({type(error).__name__})") from None
    with file:
        yield file


@contextmanager
def _shown(tally: _Tally, console: Console) -> Iterator[Callable[[], None]]:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]:.1f}/s"), TimeRemainingColumn())
    begun = told = time.monotonic()
    if console.is_terminal:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=tally.files, rate=0.0)
            yield lambda: progress.update(task, completed=tally.done, rate=tally.done / (time.monotonic() - begun))
        return

    def plain() -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= _PLAIN_LINE_S:
            told = now
            console.print(f"{tally.done} of {tally.files} files, {tally.done / (now - begun):.1f}/s")

    yield plain


def _lines(tally: _Tally, listing: Listing, model: FindingModel, seconds: float) -> Iterator[str]:
    said = f"{model.identity.name}/{model.identity.version}"
    rate = tally.done / seconds if seconds else 0.0
    yield f"{tally.done} rows in {seconds:.1f} s ({rate:.1f}/s): {tally.suitable} seen by {said}, {tally.done - tally.suitable} not"
    for reason, number in tally.reasons.most_common(20):
        yield f"  {number} x {reason}"
    if listing.skipped:
        skipped = ", ".join(f"{number} {kind}" for kind, number in sorted(listing.skipped.items()))
        yield f"skipped in folders, by their names: {skipped}"
    yield DEMONSTRATION

"""What a network says of the films of a split, and of the normal ones with a nodule put in."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from models.postprocessing import OperatingPoint, boxes, on_image, strength
from models.preprocessing import Placement, to_canvas
from models.training.batches import Difficulty
from models.training.films import FilmRecord, Split, adult_films, normal_films, read_film
from models.training.pairs import CONTRASTS, SMALL, Pair, pairs

_T = TypeVar("_T")
#: left, top, right, bottom in image pixels
Edges = tuple[float, float, float, float]


@dataclass(frozen=True)
class Answer:
    """heat: (rows, columns) logits of the heatmap. film: the film's logit."""

    heat: Tensor
    film: float
    placement: Placement

    @property
    def strength(self) -> float:
        return strength(on_image(self.heat, self.placement))


@dataclass(frozen=True)
class Rule:
    """How answers are read: probability = sigmoid(slope * strength + offset + film_slope * the film's logit), of a film and of a
    region."""

    point: OperatingPoint
    film_slope: float

    def probability(self, answer: Answer) -> float:
        return self._for(answer).probability(answer.strength)

    def found(self, answer: Answer) -> list[tuple[float, Edges]]:
        """Probability and left, top, right, bottom of every region, whatever the threshold, most probable first."""
        every = replace(self._for(answer), threshold=0.0)
        several = boxes(answer.heat, answer.placement, every)
        return [(b.probability, (b.left, b.top, b.left + b.width, b.top + b.height)) for b in several]

    def drawn(self, answer: Answer) -> list[Edges]:
        """The boxes that the engine draws."""
        several = boxes(answer.heat, answer.placement, self._for(answer))
        return [(b.left, b.top, b.left + b.width, b.top + b.height) for b in several]

    def alarms(self, answer: Answer) -> list[float]:
        """The thresholds at which the film gets one box, two, three ...: as `models.postprocessing.boxes`, whose first comes with
        the film's own probability."""
        return [self.probability(answer), *(probability for probability, _ in self.found(answer)[1:])]

    def _for(self, answer: Answer) -> OperatingPoint:
        return replace(self.point, offset=self.point.offset + self.film_slope * answer.film)


@dataclass(frozen=True)
class FilmReading:
    record: FilmRecord
    answer: Answer


@dataclass(frozen=True)
class PairReading:
    pair: Pair
    without: Answer
    with_nodule: Answer


@torch.inference_mode()
def read(network: nn.Module, pixels: NDArray[np.float32]) -> Answer:
    """One film, bright = dense."""
    canvas, placement = to_canvas(pixels)
    said = network(canvas)
    return Answer(said["heatmap"][0, 0], float(said["film"][0, 0]), placement)


@dataclass(frozen=True)
class Reader:
    """A network in evaluation mode and the data it is asked about."""

    network: nn.Module
    data: Path

    def films(self, split: Split, *, squeezed: bool = False) -> list[FilmReading]:
        """Adults, whatever their labels. See `read_film`."""
        records = adult_films(self.data, split)
        shown = _shown(records, f"{split} films{', squeezed' if squeezed else ''}", len(records))
        return [FilmReading(r, read(self.network, read_film(r, squeezed=squeezed))) for r in shown]

    def pairs(
        self, split: Split, per_film: int, seed: int, hard: Difficulty = SMALL, known: dict[FilmRecord, Answer] | None = None
    ) -> list[PairReading]:
        """`per_film` pairs of each normal film of the split. known: of untouched films, which are not asked about again."""
        total = per_film * len(normal_films(self.data, split))
        known = {} if known is None else known
        several: list[PairReading] = []
        for pair in _shown(pairs(self.data, split, per_film, seed, hard), f"{split} pairs", total):
            if pair.record not in known:
                known[pair.record] = read(self.network, pair.without)
            several.append(PairReading(pair, known[pair.record], read(self.network, pair.with_nodule)))
        return several


@dataclass(frozen=True)
class Readings:
    """Of one split: real films as they were taken and as they are published, squeezed to a square; inserted nodules at each of
    CONTRASTS."""

    real: list[FilmReading]
    squeezed: list[FilmReading]
    inserted: dict[str, list[PairReading]]

    @classmethod
    def of(cls, reader: Reader, split: Split, per_film: int, seed: int) -> "Readings":
        known: dict[FilmRecord, Answer] = {}
        inserted = {name: reader.pairs(split, per_film, seed, hard, known) for name, hard in CONTRASTS.items()}
        return cls(reader.films(split), reader.films(split, squeezed=True), inserted)


def _shown(several: Iterable[_T], what: str, total: int) -> Iterable[_T]:
    return track(several, what, total, console=Console(stderr=True))

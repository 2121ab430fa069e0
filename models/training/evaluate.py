"""`python -m models.training.evaluate`: how well a package tells films with an inserted nodule from the same films without."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from models.inference import heatmap
from models.postprocessing import Box, OperatingPoint, boxes, on_image, strength
from models.preprocessing import Placement
from models.registry import load_model
from models.training.films import YOUNGEST, Split, film_records, normal_films, read_film
from models.training.pairs import ENHANCEMENT, Pair, pairs

Figures = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Reading:
    """The two heatmaps of a pair."""

    pair: Pair
    without: Tensor
    with_nodule: Tensor
    placement: Placement

    def strengths(self) -> tuple[float, float]:
        """Without, with."""
        return strength(on_image(self.without, self.placement)), strength(on_image(self.with_nodule, self.placement))


@dataclass(frozen=True)
class Reader:
    """A network in evaluation mode and the data it is asked about."""

    network: nn.Module
    data: Path

    def readings(self, split: Split, per_film: int, seed: int, enhancement: float) -> list[Reading]:
        """`per_film` pairs of each normal film of the split."""
        total = per_film * len(normal_films(self.data, split))
        several = pairs(self.data, split, per_film, seed, enhancement)
        read: list[Reading] = []
        for pair in track(several, f"{split} pairs", total, console=Console(stderr=True)):
            known = read[-1].without if read and read[-1].pair.film == pair.film else heatmap(self.network, pair.without)[0]
            read.append(Reading(pair, known, *heatmap(self.network, pair.with_nodule)))
        return read


def area_under_curve(negative: Figures, positive: Figures) -> float:
    """Share of all negative-positive couples in the right order, ties count half."""
    difference = positive[:, None] - negative[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def located(found: list[Box], truth: tuple[float, float, float, float]) -> bool:
    """A box counts when its centre lies in the nodule's box and it is at most nine times as large, or when they overlap by
    a fifth of their union."""
    left, top, right, bottom = truth
    area = (right - left) * (bottom - top)
    for box in found:
        x, y = box.left + box.width / 2, box.top + box.height / 2
        if left <= x <= right and top <= y <= bottom and box.width * box.height <= 9 * area:
            return True
        wide = min(right, box.left + box.width) - max(left, box.left)
        high = min(bottom, box.top + box.height) - max(top, box.top)
        shared = max(wide, 0.0) * max(high, 0.0)
        if shared >= 0.2 * (area + box.width * box.height - shared):
            return True
    return False


@dataclass(frozen=True)
class Measures:
    """See `models.card.Performance`."""

    pairs: int
    films: int
    patients: int
    share_higher: float
    share_higher_interval: Interval
    share_highest_cell_higher: float
    area_under_curve: float
    area_under_curve_interval: Interval
    sensitivity_of_localisation: float
    sensitivity_10_20_mm: float
    sensitivity_20_40_mm: float
    false_boxes_per_normal_film: float
    specificity: float


def measure(several: list[Reading], point: OperatingPoint, seed: int) -> Measures:
    """Of one split. Each film's untouched reading counts once for false boxes and specificity."""
    strengths = np.array([r.strengths() for r in several])
    patients = np.array([r.pair.patient for r in several])
    diameters = np.array([r.pair.diameter_mm for r in several])
    hits = np.array([located(boxes(r.with_nodule, r.placement, point), r.pair.box) for r in several], dtype=float)
    untouched = {r.pair.film: r for r in several}.values()
    alarms = np.array([len(boxes(r.without, r.placement, point)) for r in untouched])
    peaks = np.array([(float(r.without.max()), float(r.with_nodule.max())) for r in several])
    higher = (strengths[:, 1] > strengths[:, 0]).astype(float)
    small = diameters < 20
    return Measures(
        pairs=len(several),
        films=len(untouched),
        patients=len(set(patients)),
        share_higher=float(higher.mean()),
        share_higher_interval=bootstrap(patients, lambda rows: float(higher[rows].mean()), seed),
        share_highest_cell_higher=float((peaks[:, 1] > peaks[:, 0]).mean()),
        area_under_curve=area_under_curve(strengths[:, 0], strengths[:, 1]),
        area_under_curve_interval=bootstrap(patients, lambda rows: area_under_curve(*strengths[rows].T), seed),
        sensitivity_of_localisation=float(hits.mean()),
        sensitivity_10_20_mm=float(hits[small].mean()),
        sensitivity_20_40_mm=float(hits[~small].mean()),
        false_boxes_per_normal_film=float(alarms.mean()),
        specificity=float((alarms == 0).mean()),
    )


def bootstrap(groups: NDArray[np.str_], statistic: Callable[[NDArray[np.int64]], float], seed: int, draws: int = 1000) -> Interval:
    """95 % interval over draws of whole groups (patients)."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    values = [statistic(np.concatenate([members[n] for n in rng.integers(len(members), size=len(members))])) for _ in range(draws)]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class RealMeasures:
    """Films whose report says Nodule or Mass against No Finding, all of the test split, adults; labels are text-mined."""

    diseased_films: int
    normal_films: int
    area_under_curve: float
    area_under_curve_interval: Interval


def measure_real(reader: Reader, seed: int) -> RealMeasures:
    rows = [r for r in film_records(reader.data) if r.split == "test" and r.age >= YOUNGEST]
    rows = [r for r in rows if r.labels & {"Nodule", "Mass"} or r.labels == {"No Finding"}]
    several = track(rows, "real films", console=Console(stderr=True))
    scores = np.array([strength(on_image(*heatmap(reader.network, read_film(r)))) for r in several])
    diseased = np.array(["No Finding" not in r.labels for r in rows])
    patients = np.array([r.patient for r in rows])

    def area(chosen: NDArray[np.int64]) -> float:
        return area_under_curve(scores[chosen][~diseased[chosen]], scores[chosen][diseased[chosen]])

    everything = np.arange(len(rows))
    return RealMeasures(int(diseased.sum()), int((~diseased).sum()), area(everything), bootstrap(patients, area, seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--per-film", type=int, default=3)
    parser.add_argument("--enhancement", type=float, default=ENHANCEMENT)
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    model = load_model(arguments.package, arguments.threads)
    reader = Reader(model.network, arguments.data)
    several = reader.readings(arguments.split, arguments.per_film, arguments.seed, arguments.enhancement)
    result = {
        "pairs": asdict(measure(several, model.point, arguments.seed)),
        "real": asdict(measure_real(reader, arguments.seed)),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

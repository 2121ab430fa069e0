"""`python -m models.training.package`: trained weights into a package: operating point from validation, figures from test, card."""

import argparse
import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from string import Template

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from models.card import read_card
from models.chest_nodule import ChestNoduleNetwork
from models.postprocessing import OperatingPoint, boxes
from models.registry import load_model, self_test_answer
from models.training.evaluate import Measures, Reader, Reading, located, measure, measure_real
from models.training.films import Nodules, normal_films
from models.training.pairs import ENHANCEMENT

#: share of normal validation films that may get a box
ALLOWED_ALARMS = 0.1
OUTLINES = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0)
OTHER_ENHANCEMENTS = (1.0, 1.5, 3.0)
PAIRS_A_FILM = 3


def calibrate(negative: NDArray[np.float64], positive: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and offset of a logistic regression on a film's strength (Platt 1999), by Newton's method."""
    logits = np.concatenate([negative, positive])
    design = np.stack([logits, np.ones_like(logits)], 1)
    truth = np.concatenate([np.zeros(len(negative)), np.ones(len(positive))])
    weights = np.zeros(2)
    for _ in range(50):
        share = 1 / (1 + np.exp(-design @ weights))
        curvature = design.T @ (design * (share * (1 - share))[:, None]) + 1e-6 * np.eye(2)
        weights += np.linalg.solve(curvature, design.T @ (truth - share))
    return float(weights[0]), float(weights[1])


def operating_point(validation: list[Reading]) -> OperatingPoint:
    """Threshold: the lowest at which at most ALLOWED_ALARMS of the normal films get a box. Outline: most nodules located, then
    the boxes' size nearest the nodules'."""
    strengths = np.array([r.strengths() for r in validation])
    slope, offset = calibrate(strengths[:, 0], strengths[:, 1])
    untouched = np.array([r.strengths()[0] for r in {r.pair.film: r for r in validation}.values()])
    strength = float(np.sort(untouched)[math.ceil(len(untouched) * (1 - ALLOWED_ALARMS)) - 1])
    point = OperatingPoint(0.5, 0.0, slope, offset)
    # rounded up to what the card holds, so that the rule still holds
    point = replace(point, threshold=math.ceil(point.probability(strength) * 1e4 + 1e-6) / 1e4)
    return max((replace(point, outline=o) for o in OUTLINES), key=lambda p: _outline_quality(validation, p))


def _outline_quality(validation: list[Reading], point: OperatingPoint) -> float:
    """Mean overlap (intersection over union) of each nodule's box with the best box drawn, misses count 0."""
    overlaps = []
    for reading in validation:
        left, top, right, bottom = reading.pair.box
        best = 0.0
        for box in boxes(reading.with_nodule, reading.placement, point):
            if located([box], reading.pair.box):
                wide = min(right, box.left + box.width) - max(left, box.left)
                high = min(bottom, box.top + box.height) - max(top, box.top)
                shared = max(wide, 0.0) * max(high, 0.0)
                best = max(best, shared / ((right - left) * (bottom - top) + box.width * box.height - shared))
        overlaps.append(best)
    return float(np.mean(overlaps))


def write_card(package: Path, values: Mapping[str, object]) -> None:
    template = Template((Path(__file__).parent / "card.toml.in").read_text(encoding="utf-8"))
    shown = {name: _toml(value) for name, value in values.items()}
    (package / "card.toml").write_text(template.substitute(shown), encoding="utf-8")


def _at(enhancement: float, share: float, measures: Measures) -> str:
    return (
        '[[performance]]\nmeasure = "share of pairs in which the film with the nodule scores higher"\n'
        f'value = {share:.4f}\ngroup = "enhancement {enhancement}"\ncount = {measures.films}\n'
        f'data = "{measures.films} pairs, one a film, of {measures.patients} patients"\n'
    )


def _toml(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return str(value)


def rounded(tensor: Tensor) -> Tensor:
    """Convolutions in half precision; the rest is small and stays as it is: a running variance overflowed there (above 65504),
    which silenced the whole heatmap."""
    half = tensor.half() if tensor.dim() == 4 else tensor
    if not bool(torch.isfinite(half).all()):
        raise ValueError("a weight does not fit half precision")
    return half


def build(data: Path, trained: Path, package: Path, seed: int) -> None:
    """Writes card.toml and weights.safetensors (half precision), then loads the package as the engine does."""
    network = ChestNoduleNetwork().eval()
    stored = save({name: rounded(tensor) for name, tensor in load_file(trained).items()})
    package.mkdir(parents=True, exist_ok=True)
    (package / "weights.safetensors").write_bytes(stored)
    # the figures are those of the rounded weights, as they will be used
    network.load_state_dict({name: t.float() for name, t in load_file(package / "weights.safetensors").items()})
    reader = Reader(network, data)
    point = operating_point(reader.readings("validation", PAIRS_A_FILM, seed, ENHANCEMENT))
    point = replace(point, slope=round(point.slope, 4), offset=round(point.offset, 4))
    measures = measure(reader.readings("test", PAIRS_A_FILM, seed, ENHANCEMENT), point, seed)
    real = measure_real(reader, seed)
    others = {e: measure(reader.readings("test", 1, seed, e), point, seed).share_higher for e in OTHER_ENHANCEMENTS}
    highest, mean = self_test_answer(network)
    films = normal_films(data, "train")
    write_card(
        package,
        asdict(point)
        | asdict(measures)
        | {
            "version": package.name,
            "allowed": f"{ALLOWED_ALARMS:.0%}",
            "sha256": hashlib.sha256(stored).hexdigest(),
            "highest": highest,
            "mean": mean,
            "train_films": len(films),
            "train_patients": len({f.patient for f in films}),
            "train_nodules": len(Nodules.read(data, "train").diameter),
            "enhancement": ENHANCEMENT,
            "real_films": real.diseased_films,
            "real_area_under_curve": real.area_under_curve,
            "real_area_under_curve_interval": real.area_under_curve_interval,
            "share_higher_at": "\n".join(_at(e, share, measures) for e, share in others.items()),
        },
    )
    load_model(package)
    print(read_card(package).model_dump_json(indent=2, include={"performance"}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="what models.training.train wrote, single precision")
    parser.add_argument("--out", type=Path, required=True, help="package folder; its name is the version")
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    build(arguments.data, arguments.weights, arguments.out, arguments.seed)


if __name__ == "__main__":
    main()

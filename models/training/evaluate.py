"""`python -m models.training.evaluate`: the figures of a package on a split, as JSON."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from models.card import read_card
from models.chest_nodule_lite import ChestNoduleLite
from models.postprocessing import OperatingPoint
from models.registry import fill
from models.training.figures import SEED, of_inserted, of_real_films
from models.training.films import Split
from models.training.pairs import SMALL
from models.training.readings import Answer, Reader, Rule
from schemas.errors import SettingsInvalid

#: inserted nodules, by least contrast in shares of the film's grey range: hardly to be seen, plain, and as they come
CONTRASTS = {
    "at least 0.08": SMALL,
    "at least 0.12": replace(SMALL, faintest=0.12),
    "at least 0.16": replace(SMALL, faintest=0.16),
    "by size alone": replace(SMALL, faintest=0.0),
}


def read_package(package: Path) -> tuple[ChestNoduleLite, Rule]:
    """Raises SettingsInvalid (no such package, or of another architecture) or ModelFailed (damaged)."""
    card = read_card(package)
    if card.weights is None or card.heatmap is None or card.heatmap.film is None:
        raise SettingsInvalid("evaluate", "/".join(package.parts[-2:]), "the card is not that of a chest-nodule-lite")
    network = ChestNoduleLite()
    fill(network, package, card.weights, f"{card.name}/{card.version}", str(card.architecture))
    read = card.heatmap
    return network, Rule(OperatingPoint(read.threshold, read.outline, read.slope, read.offset), card.heatmap.film.slope)


def figures(reader: Reader, rule: Rule, split: Split, per_film: int, seed: int = SEED) -> dict[str, Any]:
    """Real films as they were taken and as they are published, squeezed to a square; and inserted nodules at each of CONTRASTS."""
    known: dict[str, Answer] = {}
    inserted = {name: of_inserted(reader.pairs(split, per_film, seed, hard, known), rule) for name, hard in CONTRASTS.items()}
    return {
        "real": of_real_films(reader.films(split), rule),
        "real_squeezed": of_real_films(reader.films(split, squeezed=True), rule),
        "inserted": inserted,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--per-film", type=int, default=1)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network, rule = read_package(arguments.package)
    result = figures(Reader(network, arguments.data), rule, arguments.split, arguments.per_film, arguments.seed)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

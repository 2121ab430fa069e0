"""`python -m models.training.evaluate`: the figures of a package on a split, as JSON."""

import argparse
import json
from pathlib import Path

import torch

from models.card import read_card
from models.chest_nodule_lite import ChestNoduleLite
from models.postprocessing import OperatingPoint
from models.registry import fill
from models.training.figures import figures
from models.training.located import SEED
from models.training.readings import Reader, Readings, Rule
from schemas.errors import SettingsInvalid


def read_package(package: Path) -> tuple[ChestNoduleLite, Rule]:
    """Raises SettingsInvalid (no such package, or of another architecture) or ModelFailed (damaged)."""
    card = read_card(package)
    if card.weights is None or card.heatmap is None or card.heatmap.film is None:
        raise SettingsInvalid("evaluate", "/".join(package.parts[-2:]), "the card is not that of a chest-nodule-lite")
    network = ChestNoduleLite()
    fill(network, package, card.weights, f"{card.name}/{card.version}", str(card.architecture))
    read = card.heatmap
    return network, Rule(OperatingPoint(read.threshold, read.outline, read.slope, read.offset), card.heatmap.film.slope)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--per-film", type=int, default=1)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--plots", type=Path, help="folder for ROC, FROC and calibration as PNG; needs matplotlib")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network, rule = read_package(arguments.package)
    readings = Readings.of(Reader(network, arguments.data), arguments.split, arguments.per_film, arguments.seed)
    print(json.dumps(figures(readings, rule), indent=2))
    if arguments.plots:
        from models.training.plots import draw  # matplotlib is an extra

        draw(readings, rule, "/".join(arguments.package.parts[-2:]), arguments.plots)


if __name__ == "__main__":
    main()

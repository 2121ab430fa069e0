"""`python -m models.training.package`: trained weights into a package: rule from validation, figures from test, card."""

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from models.card import read_card
from models.chest_nodule_lite import ChestNoduleLite
from models.preprocessing import to_canvas
from models.registry import self_test_image
from models.training.figures import figures
from models.training.films import Nodules, adult_films
from models.training.located import SEED
from models.training.operating import ALLOWED_BOXES, rule_of
from models.training.performance import of_figures, toml
from models.training.readings import Reader, Readings

#: logits of the trained heatmap are brought nearer to each other: many weak cells of a film count for more beside its strongest. On
#: validation, better at what reports say of real films (0.78 and 0.86 against 0.77 and 0.84) than it costs in places
SHARPNESS = 0.7
#: for the rule, and for the figures
PAIRS_A_FILM = {"validation": 2, "test": 1}


def rounded(tensor: Tensor) -> Tensor:
    """Convolutions in half precision; the rest is small and stays as it is: a running variance overflowed there (above 65504),
    which silenced the whole heatmap."""
    half = tensor.half() if tensor.dim() == 4 else tensor
    if not bool(torch.isfinite(half).all()):
        raise ValueError("a weight does not fit half precision")
    return half


def spread(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The heatmap's logits times SHARPNESS."""
    return {name: tensor * SHARPNESS if name.startswith("head.2.") else tensor for name, tensor in weights.items()}


@torch.inference_mode()
def self_test(network: ChestNoduleLite) -> tuple[float, float, float]:
    """Highest and mean logit of the heatmap, and the film's."""
    said = network(to_canvas(self_test_image())[0])
    return float(said["heatmap"].max()), float(said["heatmap"].mean()), float(said["film"])


def write_card(package: Path, values: Mapping[str, Any]) -> None:
    template = Template((Path(__file__).parent / "card.toml.in").read_text(encoding="utf-8"))
    shown = {name: f"{value:.4f}" if isinstance(value, float) else str(value) for name, value in values.items()}
    (package / "card.toml").write_text(template.substitute(shown), encoding="utf-8")


def build(data: Path, trained: Path, package: Path, stages: str) -> dict[str, Any]:
    """Writes card.toml and weights.safetensors (half precision); the figures, those of the rounded weights as they will be used."""
    stored = save({name: rounded(tensor) for name, tensor in spread(load_file(trained)).items()})
    package.mkdir(parents=True, exist_ok=True)
    (package / "weights.safetensors").write_bytes(stored)
    network = ChestNoduleLite().eval()
    network.load_state_dict({n: t.float() for n, t in load_file(package / "weights.safetensors").items()})
    reader = Reader(network, data)
    both = [reading for squeezed in (False, True) for reading in reader.films("validation", squeezed=squeezed)]
    rule = rule_of(both, reader.pairs("validation", PAIRS_A_FILM["validation"], SEED))
    result = figures(Readings.of(reader, "test", PAIRS_A_FILM["test"], SEED), rule)
    films = adult_films(data, "train")
    highest, mean, film = self_test(network)
    values = vars(rule.point) | {
        "film_slope": rule.film_slope,
        "version": package.name,
        "allowed": f"{ALLOWED_BOXES:g}",
        "sha256": hashlib.sha256(stored).hexdigest(),
        "highest": highest,
        "mean": mean,
        "film": film,
        "films": len(films),
        "patients": len({f.patient for f in films}),
        "nodules": len(Nodules.read(data, "train").diameter),
        "stages": stages,
        "performance": toml(of_figures(result)),
    }
    write_card(package, values)
    read_card(package)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="what models.training.train wrote, single precision")
    parser.add_argument("--out", type=Path, required=True, help="package folder; its name is the version")
    parser.add_argument("--stages", default="make train", help="how the weights were trained, for the card")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(json.dumps(build(arguments.data, arguments.weights, arguments.out, arguments.stages), indent=2))


if __name__ == "__main__":
    main()

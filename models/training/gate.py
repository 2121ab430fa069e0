"""`python -m models.training.gate`: trains the chest gate, sets its threshold (validation), measures it (test), packs it."""

import argparse
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import save
from torch import Tensor, nn

from models.card import read_card_as
from models.chest_gate import ChestGate, ChestGateNetwork, GateCard, GatePerformance, gate_canvas, load_gate, self_test_logit
from models.registry import PACKAGES
from models.training.films import FilmRecord, Split, film_records
from models.training.gate_images import DRAWN, MADE, OtherImage, Picture, altered, other_images, read_film_small

BATCH = 64
#: of a batch; the rest is made of films, drawn, or another image, a third each
FRONTAL = 0.45
DRAWN_A_KIND = 200
#: the threshold lies this far (logits) below the lowest validation film
MARGIN = 1.0


@dataclass(frozen=True)
class GateImages:
    """Films and other images of one split."""

    records: list[FilmRecord]
    films: list[Picture]
    others: list[OtherImage]

    @classmethod
    def read(cls, data: Path, others: list[OtherImage], split: Split) -> "GateImages":
        records = [r for r in film_records(data) if r.split == split]
        return cls(records, [read_film_small(r) for r in records], [o for o in others if o.split == split])

    @property
    def patients(self) -> int:
        return len({r.patient for r in self.records})

    def draw(self, rng: np.random.Generator) -> tuple[Picture, float]:
        """One training example and its truth."""
        film = self.films[rng.integers(len(self.films))]
        if rng.random() < FRONTAL:
            return altered(film, rng), 1.0
        source = rng.integers(3) if self.others else rng.integers(2)
        if source == 0:
            picture = list(MADE.values())[rng.integers(len(MADE))](film, rng)
        elif source == 1:
            picture = list(DRAWN.values())[rng.integers(len(DRAWN))](rng)
        else:
            picture = _another_view(self.others[rng.integers(len(self.others))].picture, rng)
        return altered(picture, rng), 0.0

    def counter_examples(self, rng: np.random.Generator) -> Iterator[tuple[str, Picture]]:
        """Kind and image: each film once in each made way, each other image as it is, DRAWN_A_KIND of each drawn kind."""
        for kind, make in MADE.items():
            yield from ((kind, make(film, rng)) for film in self.films)
        yield from ((o.kind, o.picture) for o in self.others)
        for kind, draw in DRAWN.items():
            yield from ((kind, draw(rng)) for _ in range(DRAWN_A_KIND))


def _another_view(picture: Picture, rng: np.random.Generator) -> Picture:
    """Of an image that is no radiograph: any side up, either grey sense, any part."""
    rows, columns = (max(16, int(side * rng.uniform(0.4, 1))) for side in picture.shape)
    top, left = (int(rng.integers(0, max(1, whole - part))) for whole, part in zip(picture.shape, (rows, columns), strict=True))
    part = np.rot90(picture[top : top + rows, left : left + columns], int(rng.integers(4)))
    return np.ascontiguousarray(1 - part if rng.random() < 0.5 else part)


def _canvas(picture: Picture) -> Tensor:
    try:
        return gate_canvas(picture)[0]
    except ValueError:  # no contrast: the gate refuses it without the network
        return torch.zeros(1, 64, 64)


def train(images: GateImages, steps: int, seed: int) -> ChestGateNetwork:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = ChestGateNetwork().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    loss_of = nn.BCEWithLogitsLoss()
    for _ in track(range(steps), "training", console=Console(stderr=True)):
        drawn = [images.draw(rng) for _ in range(BATCH)]
        canvases = torch.stack([_canvas(picture) for picture, _ in drawn])
        loss = loss_of(network(canvases)[:, 0], torch.tensor([truth for _, truth in drawn]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def threshold_of(network: nn.Module, validation: GateImages, seed: int) -> float:
    """See THRESHOLD_RULE; rounded down to what the card holds."""
    rng = np.random.default_rng(seed + 1)
    canvases = torch.stack([_canvas(p) for film in validation.films for p in (film, altered(film, rng))])
    with torch.inference_mode():
        lowest = float(network(canvases).min()) - MARGIN
    return max(1e-4, math.floor(min(1 / (1 + math.exp(-lowest)), 0.3) * 1e4) / 1e4)


THRESHOLD_RULE = "one logit below the lowest film of the validation split, as it is or altered, at most 0.3"


def lower_bound(passed: int, of: int, confidence: float = 0.95) -> float:
    """Clopper-Pearson, one-sided: the share at which `passed` or more of `of` still has probability 1 - confidence."""
    if not passed:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        if _at_least(passed, of, share) < 1 - confidence:
            low = share
        else:
            high = share
    return low


def _at_least(passed: int, of: int, share: float) -> float:
    if share in (0.0, 1.0):
        return share
    log = [
        math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) + k * math.log(share) + (of - k) * math.log1p(-share)
        for k in range(passed, of + 1)
    ]
    return math.fsum(math.exp(term) for term in log)


def passes(gate: Callable[[Picture], bool], picture: Picture) -> bool:
    try:
        return gate(picture)
    except ValueError:
        return False


def measure(gate: Callable[[Picture], bool], test: GateImages, seed: int) -> GatePerformance:
    rng = np.random.default_rng(seed + 2)
    passed = sum(passes(gate, film) for film in test.films)
    altered_passed = sum(passes(gate, altered(film, rng)) for film in test.films)
    refused: dict[str, tuple[int, int]] = {}
    for kind, picture in test.counter_examples(rng):
        before, of = refused.get(kind, (0, 0))
        refused[kind] = (before + (not passes(gate, picture)), of + 1)
    return GatePerformance(
        films=len(test.films),
        patients=test.patients,
        passed=passed,
        passed_lower_bound=math.floor(lower_bound(passed, len(test.films)) * 1e4) / 1e4,
        altered_films=len(test.films),
        altered_passed=altered_passed,
        refused=refused,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--others", type=Path, action="append", default=[], help="a folder of other images; may be repeated")
    parser.add_argument("--out", type=Path, default=PACKAGES / "chest-gate" / "1", help="package folder; its name is the version")
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    others = other_images([arguments.data / "dicom", *arguments.others])
    names: tuple[Split, ...] = ("train", "validation", "test")
    splits = {split: GateImages.read(arguments.data, others, split) for split in names}
    network = train(splits["train"], arguments.steps, arguments.seed)
    threshold = threshold_of(network, splits["validation"], arguments.seed)
    said = f"--seed {arguments.seed} --steps {arguments.steps}"
    write_package(arguments.out, network, threshold, splits, said, arguments.seed)


def write_package(
    out: Path, network: ChestGateNetwork, threshold: float, splits: dict[Split, GateImages], said: str, seed: int
) -> None:
    """card.toml and weights.safetensors, then loads the package as the engine does and measures it."""
    stored = save(dict(network.state_dict()))
    out.mkdir(parents=True, exist_ok=True)
    (out / "weights.safetensors").write_bytes(stored)
    trained = splits["train"]
    seen = {o.identity for name, images in splits.items() if name != "test" for o in images.others}
    values = {
        "version": out.name,
        "threshold": f"{threshold:.4f}",
        "threshold_rule": THRESHOLD_RULE,
        "sha256": hashlib.sha256(stored).hexdigest(),
        "logit": f"{self_test_logit(network):.4f}",
        "arguments": said,
        "films": len(trained.films),
        "patients": trained.patients,
        "others": json.dumps(sorted(seen), indent=4).replace('"\n]', '",\n]'),
    }
    measured = measure(ChestGate(network, threshold), splits["test"], seed)
    lines = [f"{name} = {value}" for name, value in measured.model_dump(exclude={"refused"}).items()]
    lines += ["", "# by kind: refused, of", "[performance.refused]"]
    lines += [f'"{kind}" = [{refused}, {of}]' for kind, (refused, of) in sorted(measured.refused.items())]
    template = Template((Path(__file__).parent / "gate_card.toml.in").read_text(encoding="utf-8"))
    text = template.substitute(values | {"performance": "\n".join(lines)})
    (out / "card.toml").write_text(text + "\n", encoding="utf-8")
    load_gate(out)
    print(read_card_as(GateCard, out).performance.model_dump_json(indent=2))


if __name__ == "__main__":
    main()

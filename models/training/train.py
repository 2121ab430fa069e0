"""`python -m models.training.train`: learn to localise nodules and masses from films into which nodules cut from CT are put, and,
from the same films, whether anything is wrong with them. Killed and started again, it goes on where it was."""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn, track
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.chest_nodule_lite import ChestNoduleLite
from models.training import loss
from models.training.batches import Batch, Difficulty, pairs_of_crops, whole_films
from models.training.checkpoint import Run
from models.training.films import NORMAL, Film, Nodules, adult_films, read_film
from models.training.imagenet import fill_trunk
from schemas.errors import SettingsInvalid

#: stem and first blocks, which see edges, stay as ImageNet made them: a quarter less time, and no loss that could be seen
FROZEN_BLOCKS = 3
EASY = Difficulty((14.0, 70.0), (2.5, 5.5), 0.15)
ALL = Difficulty((8.0, 70.0), (1.2, 3.5), 0.09)


@dataclass(frozen=True)
class Plan:
    """The whole recipe; the same plan on the same data gives the same weights.

    Steps see either pairs of crops (cheap, and a nodule in each) or whole films (false alarms, and whether the film is sick).
    """

    steps: int = 2000
    seed: int = 20261129
    crop: int = 192
    crops_a_step: int = 14
    films_a_step: int = 4
    #: share of steps on whole films
    whole_share: float = 0.4
    learning_rate: float = 1e-3
    #: of the trunk and of the film's logit, relative to that
    trunk_rate: float = 0.4
    film_rate: float = 0.2
    #: steps of the cosine along which the rate falls, were it not for the last `cooling` steps, which bring it down to nothing
    horizon: int = 2400
    cooling: int = 400
    #: decay a step of the moving average of weights that is kept
    averaging: float = 0.995
    #: what is inserted at first, and from that many steps on
    first: Difficulty = EASY
    last: Difficulty = ALL
    easy_steps: int = 1200
    #: batches of whole films from which the statistics of batch normalisation are taken, once, before the first step
    statistics_batches: int = 12

    def rate(self, step: int) -> float:
        """Learning rate: up within 6 % of the horizon, along a cosine, and down on a straight line at the end."""
        up = min(1.0, (step + 1) / (0.06 * self.horizon))
        end = min(1.0, (self.steps - step) / self.cooling)
        return self.learning_rate * up * end * (0.5 + 0.5 * math.cos(math.pi * step / self.horizon)) + 1e-6

    def difficulty(self, step: int) -> Difficulty:
        """From easy ones to all, on a straight line."""
        ease = max(0.0, 1 - step / self.easy_steps)

        def between(first: float, last: float) -> float:
            return last + (first - last) * ease

        a, b = self.first, self.last
        return Difficulty(
            (between(a.diameters_mm[0], b.diameters_mm[0]), between(a.diameters_mm[1], b.diameters_mm[1])),
            (between(a.enhancement[0], b.enhancement[0]), between(a.enhancement[1], b.enhancement[1])),
            between(a.faintest, b.faintest),
        )


@dataclass(frozen=True)
class Material:
    """Films to train on, whether each one's report names a finding, and nodules to put in."""

    films: list[Film]
    sick: Tensor
    nodules: Nodules

    @classmethod
    def read(cls, data: Path) -> "Material":
        """The train split of `data` (see docs/model-card.md for how it is laid out)."""
        records = adult_films(data, "train")
        films = [Film.of(read_film(r)) for r in track(records, "reading films", console=Console(stderr=True))]
        return cls(films, torch.tensor([float(r.labels != NORMAL) for r in records]), Nodules.read(data, "train"))

    def batch(self, plan: Plan, step: int) -> Batch:
        rng = np.random.default_rng((plan.seed, step))
        hard = plan.difficulty(step)
        if rng.random() < plan.whole_share:
            return whole_films(rng, self.films, self.nodules, hard, plan.films_a_step)
        return pairs_of_crops(rng, self.films, self.nodules, hard, plan.crop, plan.crops_a_step)


def begin(material: Material, plan: Plan, fill: Callable[[ChestNoduleLite], None] = fill_trunk) -> ChestNoduleLite:
    """ImageNet's weights, with the statistics of radiographs."""
    torch.manual_seed(plan.seed)
    network = ChestNoduleLite()
    fill(network)
    network.eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over the batches
            layer.train()
    with torch.inference_mode():
        for n in range(plan.statistics_batches):
            rng = np.random.default_rng((plan.seed, plan.horizon, n))
            network(whole_films(rng, material.films, material.nodules, plan.first, plan.films_a_step).canvas)
    return network.eval()


def _optimiser(network: ChestNoduleLite, plan: Plan) -> torch.optim.Optimizer:
    """Each group names its share of the learning rate."""
    for part in (network.stem, *network.blocks[:FROZEN_BLOCKS]):
        part.requires_grad_(False)
    groups = (
        (network.blocks[FROZEN_BLOCKS:], plan.trunk_rate),
        (network.film, plan.film_rate),
        (nn.ModuleList([network.laterals, network.head]), 1.0),
    )
    return torch.optim.AdamW([{"params": [*part.parameters()], "share": share} for part, share in groups], weight_decay=0.02)


def step_of(run: Run, material: Material, plan: Plan, step: int) -> float:
    """One step; its loss. The network stays in evaluation mode: batch statistics are fixed."""
    batch, device = material.batch(plan, step), next(run.network.parameters()).device
    for group in run.optimiser.param_groups:
        group["lr"] = plan.rate(step) * group["share"]
    with torch.autocast(device.type, torch.bfloat16):
        said = run.network(batch.canvas.to(device).contiguous(memory_format=torch.channels_last))
    heat, film = said["heatmap"].float(), said["film"].float()
    beside = loss.order(heat) if batch.paired else loss.sickness(film, material.sick[batch.films].to(device))
    total = loss.places(heat, batch.target.to(device)) + 0.5 * beside
    run.optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), 5.0)
    run.optimiser.step()
    run.averaged.update_parameters(run.network)
    return float(total.detach())


def train(
    material: Material,
    plan: Plan,
    checkpoint: Path,
    every: int,
    fill: Callable[[ChestNoduleLite], None] = fill_trunk,
    tell: Callable[[int, float], None] = lambda step, loss: None,
    device: str = "cpu",
) -> ChestNoduleLite:
    """All steps of the plan, on from `checkpoint` when there is one; written anew `every` so many steps. Returns the moving average
    of the weights. Raises SettingsInvalid: the checkpoint is of another plan, the start is not installed."""
    network = begin(material, plan, fill).to(memory_format=torch.channels_last).to(device)
    average = get_ema_multi_avg_fn(plan.averaging)  # type: ignore[no-untyped-call]
    run = Run(network, AveragedModel(network, multi_avg_fn=average), _optimiser(network, plan))
    written = json.loads(json.dumps(asdict(plan)))
    for step in range(run.resume(checkpoint, written), plan.steps):
        tell(step, step_of(run, material, plan, step))
        if (step + 1) % every == 0 or step + 1 == plan.steps:
            run.save(checkpoint, step + 1, written)
    network.load_state_dict(run.averaged.module.state_dict())
    return network.cpu().eval()


def _shown(plan: Plan, console: Console) -> tuple[Progress, Callable[[int, float], None]]:
    """A bar on a terminal, a line every hundred steps elsewhere."""
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.3f}"))
    progress = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal)
    task = progress.add_task("", total=plan.steps, loss=float("nan"))
    recent: list[float] = []

    def tell(step: int, value: float) -> None:
        recent.append(value)
        del recent[:-100]
        mean = sum(recent) / len(recent)
        progress.update(task, completed=step + 1, loss=mean)
        if not console.is_terminal and (step + 1) % 100 == 0:
            console.print(f"step {step + 1} of {plan.steps}, loss {mean:.3f}")

    return progress, tell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="laid out as docs/model-card.md says")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file; the checkpoint lies beside it")
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--every", type=int, default=200, help="steps from checkpoint to checkpoint")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plan = Plan(steps=arguments.steps, seed=arguments.seed)
    progress, tell = _shown(plan, Console(stderr=True))
    material, checkpoint = Material.read(arguments.data), arguments.out.with_suffix(".checkpoint")
    try:
        with progress:
            network = train(material, plan, checkpoint, arguments.every, tell=tell, device=arguments.device)
    except SettingsInvalid as error:
        parser.exit(2, f"{error}\n")
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, arguments.out)


if __name__ == "__main__":
    main()

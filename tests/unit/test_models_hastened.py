"""A network that is hastened (models.fast) gives other answers: it is tested again before it speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.registry import FAST_TOLERANCE, PACKAGES, load, verify
from models.torch_network import TorchNetwork
from schemas.errors import ModelFailed
from tests.contract.panel_package import PanelNetwork, panel_card, panel_package

COMMITTED = PACKAGES / "chest-nodule" / "1"
Module = Callable[[torch.Tensor], dict[str, torch.Tensor]]


def hastened(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, torch.Tensor]], object] = lambda tensors: None) -> None:
    """As on CUDA, where answers are other ones."""

    def hasten(network: TorchNetwork) -> bool:
        slow: Module = network._module

        def fast(canvases: torch.Tensor) -> dict[str, torch.Tensor]:
            answer = slow(canvases)
            tensors = dict(answer) if isinstance(answer, Mapping) else {"heatmap": answer}
            change(tensors)
            return tensors

        network._module = fast
        return True

    monkeypatch.setattr(TorchNetwork, "hasten", hasten)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many canvases were in each."""
    asked: list[int] = []
    ask = TorchNetwork.__call__

    def counted(network: TorchNetwork, canvases: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        asked.append(len(canvases))
        return ask(network, canvases)

    monkeypatch.setattr(TorchNetwork, "__call__", counted)
    return asked


@pytest.mark.parametrize("by", [0.1, 1.0])
@pytest.mark.parametrize("image", [0, 1])
def test_what_was_hastened_is_tested_again(monkeypatch: pytest.MonkeyPatch, by: float, image: int) -> None:
    """As bfloat16 might: every logit is another one, of an image alone, or of the second in a pass."""
    hastened(monkeypatch, lambda tensors: tensors["heatmap"][image:].add_(by))
    if by < FAST_TOLERANCE:
        load(COMMITTED, fast=True).close()
    else:
        with pytest.raises(ModelFailed, match=r"more than 0\.25: set models\.fast to false"):
            load(COMMITTED, fast=True)


def test_a_pass_of_one_and_a_pass_of_more_are_compiled_when_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, passes: list[int]
) -> None:
    hastened(monkeypatch)
    load(COMMITTED, fast=True).close()
    assert passes == [1, 1, 2]


def test_what_cannot_be_hastened_is_tested_once(passes: list[int]) -> None:
    assert not TorchNetwork(PanelNetwork()).hasten(), "there is no CUDA in it"
    load(COMMITTED, fast=True).close()
    assert passes == [1]


@pytest.mark.parametrize(("activation", "well"), [("sigmoid", True), ("softmax", True), ("none", False)])
def test_what_is_no_logit_is_as_near_as_the_card_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, activation: str, well: bool
) -> None:
    """A probability that is 0.1 off is another one."""
    outputs = panel_card()["outputs"]
    outputs[-1] |= {"activation": activation}
    folder = panel_package(tmp_path, outputs=outputs)
    load(folder, fast=True, tests=True).close()
    hastened(monkeypatch, lambda tensors: tensors["devices"].add_(0.1))
    if well:
        load(folder, fast=True, tests=True).close()
    else:
        with pytest.raises(ModelFailed, match=r"differs from the card's by 0\.1.*, more than 0\.001"):
            load(folder, fast=True, tests=True)


def test_to_verify_is_to_load(monkeypatch: pytest.MonkeyPatch, passes: list[int]) -> None:
    """Once, and what would speak: hastened where that is set."""
    verify(COMMITTED)
    assert passes == [1]
    hastened(monkeypatch, lambda tensors: tensors["heatmap"].add_(0.1))
    said = verify(COMMITTED, fast=True)
    assert passes == [1, 1, 1, 2]
    assert said.deviation == pytest.approx(0.1, abs=0.01) and said.tolerance == FAST_TOLERANCE

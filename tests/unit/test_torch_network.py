"""torch behind the port `Network`: its memory, its errors, its sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.torch_network import TorchNetwork, device_named
from schemas.errors import ModelFailed, SettingsInvalid
from tests.unit.test_models_inference import of, wrong


class Raising(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, canvas: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_out_of_memory_is_said_so(error: Exception) -> None:
    with pytest.raises(MemoryError):
        TorchNetwork(Raising(error))(np.zeros((2, 1, 8, 8), np.float32))


def test_a_network_that_raises() -> None:
    said = wrong(of(TorchNetwork(nn.Conv2d(3, 1, 1))))
    assert isinstance(said, ModelFailed) and said.reason == "torch raised RuntimeError"


class Doubled(nn.Module):
    def forward(self, canvas: Tensor) -> dict[str, Tensor]:
        assert len(canvas) <= 2
        return {"twice": (2 * canvas).double(), "mean": canvas.mean((1, 2, 3))}


def test_no_more_at_a_time_than_it_takes_and_single_precision_out() -> None:
    canvases = np.random.default_rng(0).normal(size=(5, 1, 4, 4)).astype(np.float32)
    tensors = TorchNetwork(Doubled(), most=2)(canvases)
    np.testing.assert_array_equal(tensors["twice"], 2 * canvases)
    assert tensors["twice"].dtype == np.float32 and tensors["mean"].shape == (5,)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_no_cuda_device_where_one_is_asked_for() -> None:
    assert device_named("auto").type == "cpu"
    with pytest.raises(SettingsInvalid, match="no CUDA device"):
        device_named("cuda")

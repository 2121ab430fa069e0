"""A program of torch.export from somebody else: that it speaks, what it may hold, and which torch made it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.registry import load
from models.torch_network import TorchNetwork
from schemas.errors import ModelFailed
from tests.contract.panel_package import PanelNetwork, exported, panel_program
from tests.unit.exported_archives import (
    MODULE,
    archive_of,
    changed,
    files_of,
    package,
    put,
    read,
    refused,
)


def test_it_answers_as_the_network_it_was_made_of() -> None:
    program = read(panel_program())
    assert (program.most, program.shape) == (256, (1, 64, 64))
    canvases = np.random.default_rng(0).normal(size=(5, 1, 64, 64)).astype(np.float32)
    answer, network = TorchNetwork(program.module_on(torch.device("cpu")))(canvases), TorchNetwork(PanelNetwork())(canvases)
    assert list(answer) == ["heatmap", "devices"]
    for name in answer:
        np.testing.assert_allclose(answer[name], network[name], atol=1e-5)


class Mixed(nn.Module):
    """Three channels, arithmetic on sizes, a constant, an argument in words; one tensor is the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, canvas: Tensor) -> Tensor:
        seen = nn.functional.gelu(self.convolution(canvas), approximate="tanh")
        flat = seen.reshape(canvas.shape[0] * 2, -1).reshape(canvas.shape[0], 4, -1)
        weighed = torch.einsum("ncp,c->np", flat, self.scale) + torch.tensor([0.5])
        wide = nn.functional.interpolate(weighed.reshape(-1, 1, 8, 8), scale_factor=2.0, mode="bilinear")
        return nn.functional.pad(wide, (1, 1, 1, 1), mode="reflect")


@pytest.mark.parametrize(("most", "limit"), [(16, 16), (None, 1)])
def test_a_program_with_a_bit_of_everything(most: int | None, limit: int) -> None:
    torch.manual_seed(1)
    network = Mixed().eval()
    program = read(exported(network, 8, channels=3, most=most))
    assert (program.most, program.shape) == (limit, (3, 8, 8))
    canvases = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    answer = TorchNetwork(program.module_on(torch.device("cpu")), most=program.most)(canvases)
    np.testing.assert_allclose(answer["heatmap"], TorchNetwork(network)(canvases)["heatmap"], atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- of another torch


def test_a_schema_of_another_torch_is_named_with_both_versions() -> None:
    stored = changed(lambda program: program["schema_version"].update(major=9, minor=1))
    with pytest.raises(ModelFailed) as raised:
        read(stored, "2.99.1")
    assert raised.value.reason.startswith(
        f"program.pt2: torch 2.99.1 wrote it with schema 9.1, torch {torch.__version__} reads schema"
    )
    assert "export it again with this torch" in raised.value.reason


def test_another_torch_than_the_cards() -> None:
    with pytest.raises(ModelFailed, match=r"the card says torch 2\.8\.0, the program another: correct the card"):
        read(panel_program(), "2.8.0")


def test_an_operator_that_this_torch_does_not_have() -> None:
    stored = changed(put("torch.ops.aten.of_tomorrow.default", MODULE, "graph", "nodes", 0, "target"))
    assert f"cannot be read by torch {torch.__version__}" in refused(stored)


# -------------------------------------------------------------------------------------------------------- and its package


def test_weights_of_a_program_that_are_not_numbers(tmp_path: Path) -> None:
    network = PanelNetwork()
    network.answer.bias.data[2] = torch.nan
    with pytest.raises(ModelFailed, match="not finite"):
        load(package(tmp_path, exported(network, 64)), tests=True)


def test_a_program_for_other_images_than_the_cards(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match=r"takes images of shape \(1, 32, 32\), the card's input has \(1, 64, 64\)"):
        load(package(tmp_path, exported(PanelNetwork(), 32)), tests=True)


def test_a_program_for_exactly_two_images(tmp_path: Path) -> None:
    out = io.BytesIO()
    torch.export.save(torch.export.export(PanelNetwork(), (torch.zeros(2, 1, 64, 64),)), out)
    with pytest.raises(ModelFailed, match="takes exactly 2 images: export it with a batch of one, or of any size"):
        load(package(tmp_path, out.getvalue()), tests=True)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_records_that_grow_when_they_are_read(compression: int) -> None:
    assert "its records are compressed" in refused(archive_of(files_of(panel_program()), compression))

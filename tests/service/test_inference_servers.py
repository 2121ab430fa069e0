"""Our network client against MLServer, an inference server of others, as a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.inference import V2Network
from schemas.errors import ModelFailed, ModelUnavailable
from tests.contract.mlserver_process import free_port, mlserver

pytestmark = pytest.mark.service

CANVASES = np.random.default_rng(6).normal(size=(5, 1, 64, 64)).astype(np.float32)


def _network(url: str, **said: Any) -> V2Network:
    terms = {
        "model_name": "chest",
        "model_version": "1",
        "input_name": "canvas",
        "output_names": ["mean", "heatmap"],
        "max_batch": 2,
    }
    return V2Network(url, **{**terms, **said})


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlserver(tmp_path_factory.mktemp("mlserver"), "chest", "1", "halving") as url:
        yield url


def test_the_same_numbers(url: str) -> None:
    with closing(_network(url)) as network:
        for _ in range(2):  # the second time on a kept connection
            answer = network(CANVASES)
            np.testing.assert_array_equal(answer["heatmap"], CANVASES / 2, strict=True)
            np.testing.assert_allclose(answer["mean"], CANVASES.mean(axis=(1, 2, 3))[:, None], rtol=1e-5)


@pytest.mark.parametrize(
    ("said", "error", "why"),
    [
        ({"model_version": "2"}, ModelUnavailable, "the server now answers as version 1: promote a package for it"),
        ({"model_name": "another"}, ModelUnavailable, "HTTP 404: the model is not ready there"),
        ({"output_names": ["another"]}, ModelFailed, "HTTP 500, though the server says that the model is ready"),
    ],
)
def test_what_it_does_not_serve(url: str, said: dict[str, Any], error: type[Exception], why: str) -> None:
    with closing(_network(url, **said)) as network, pytest.raises(error, match=why):
        network(CANVASES)


def test_a_restart_as_another_version(tmp_path: Path) -> None:
    """As when somebody rolls out a new model there: while it is away, and when it is back, nothing is answered in the old name."""
    port = free_port()
    with closing(_network(f"http://127.0.0.1:{port}", timeout_s=10)) as network:
        with mlserver(tmp_path, "chest", "1", "halving", port):
            assert len(network(CANVASES)["mean"]) == 5
        with pytest.raises(ModelUnavailable, match="no connection"):
            network(CANVASES)
        with mlserver(tmp_path, "chest", "2", "halving", port):
            with pytest.raises(ModelUnavailable, match="the server now answers as version 2"):
                network(CANVASES)
            with closing(_network(f"http://127.0.0.1:{port}", model_version="2")) as promoted:
                assert len(promoted(CANVASES)["mean"]) == 5


def test_a_server_that_does_not_say_its_version(tmp_path: Path) -> None:
    with (
        mlserver(tmp_path, "chest", None, "halving") as url,
        closing(_network(url)) as network,
        pytest.raises(ModelUnavailable, match="does not say which version answers"),
    ):
        network(CANVASES)

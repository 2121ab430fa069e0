"""A network on somebody's server, and everything such a server can do to us: hang, lie, answer nonsense, become another model."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.inference import V2Network
from connectors.inference_served import Parameter, Served, TensorMetadata
from connectors.inference_tensors import Tensor, described, joined
from schemas.errors import AccessRefused, ModelFailed, ModelUnavailable, RadstreamError, SettingsInvalid
from tests.unit.certificates import Authority
from tests.unit.http_peer import Handler, http_peer
from tests.unit.inference_caller import serving

# ------------------------------------------------------------------------------------------- with our own server
from tests.unit.v2_servers import (
    CANVASES,
    READY,
    TOO_LATE_S,
    Scripted,
    answer_with,
    asked,
    drip,
    hang,
    network_at,
    well,
    with_status,
)


class _Halving:
    """The network of a test: half of each canvas, and how it was asked."""

    def __init__(self, version: str = "1") -> None:
        self.batches: list[int] = []
        self.version = version

    async def infer(self, inputs: Mapping[str, Tensor], parameters: Mapping[str, Parameter]) -> list[Tensor]:
        values = inputs["canvas"].values
        self.batches.append(len(values))
        return [Tensor("heatmap", values[:, 0] / 2), Tensor("unasked", np.zeros(3))]

    def served(self) -> Served:
        inputs = (TensorMetadata("canvas", ("FP32",), (-1, 1, 2, 2)),)
        outputs = (TensorMetadata("heatmap", ("FP32",), (-1, 2, 2)), TensorMetadata("unasked", ("FP64",), (3,)))
        return Served("chest.network", self.version, inputs, outputs, self.infer)


@pytest.mark.parametrize("binary", [False, True])
async def test_numbers_come_back_as_they_went_in_batches_of_the_card(binary: bool) -> None:
    halving = _Halving()
    async with serving(halving.served()) as caller:
        answer = await asyncio.to_thread(asked, network_at(caller.url, binary=binary))
    np.testing.assert_array_equal(answer["heatmap"], CANVASES[:, 0] / 2, strict=True)
    assert halving.batches == [2, 2, 1]
    assert list(answer) == ["heatmap"]


async def test_token_and_tls(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken\n")
    authority = Authority(tmp_path, "hospital")
    pair = authority.sign("serving")
    told: dict[str, Any] = {"token_file": token, "ca": authority.certificate, "certificate": pair.certificate, "key": pair.key}
    async with serving(_Halving().served(), **told) as caller:
        answer = await asyncio.to_thread(asked, network_at(caller.url, token_file=token, tls_ca=authority.certificate))
        assert len(answer["heatmap"]) == 5
        with pytest.raises(ModelUnavailable, match="TLS: "):
            await asyncio.to_thread(asked, network_at(caller.url, token_file=token))
        with pytest.raises(AccessRefused, match="HTTP 401: see token_file"):
            await asyncio.to_thread(asked, network_at(caller.url, tls_ca=authority.certificate))


def test_it_is_made_in_another_process(tmp_path: Path) -> None:
    make = partial(V2Network, "http://127.0.0.1:1", model_name="a", model_version="1", input_name="x", output_names=("y",))
    assert isinstance(pickle.loads(pickle.dumps(make))(), V2Network)
    with pytest.raises(SettingsInvalid, match="models.remotes: credentials: .* cannot be read"):
        make(token_file=tmp_path / "none")


# ------------------------------------------------------------------------------------------- with a server of the test


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ((b"", {}), "body: is no JSON"),
        ((b"<html>log in</html>", {}), "body: is no JSON"),
        ((b"[]", {}), "body: its JSON is no object"),
        ((b"[" * 100_000, {}), "body: is no JSON"),
        (answer_with(outputs=None), "outputs: is no list"),
        (answer_with(outputs=[]), "output heatmap: is missing"),
        (answer_with({"name": "another"}), "output heatmap: is missing"),
        (answer_with({"shape": [1, 4]}), "output heatmap: is not of 2 images"),
        (answer_with({"shape": [], "data": [1]}), "output heatmap: is not of 2 images"),
        (answer_with({"shape": [2, 3]}), "output heatmap: has not as many elements"),
        (answer_with({"datatype": "FP64"}), "output heatmap: is no FP32"),
        (answer_with({"datatype": "FP8"}), "output heatmap: its datatype is none"),
        (answer_with({"data": [1, 2, 3, float("nan")]}), "body: is no JSON"),
        (answer_with({"data": [1, 2, 3, 1e300]}), "output heatmap: holds what is no number"),
        (answer_with({"data": [1, 2, 3, "Mustermann"]}), "output heatmap: its data are no FP32"),
        (answer_with(length=10**9), "Inference-Header-Content-Length: is more than there is"),
        (answer_with(length=5), "body: is no JSON"),
        (answer_with({"data": None, "parameters": {"binary_data_size": 16}}), "output heatmap: its binary_data_size is more"),
    ],
)
def test_nonsense_is_no_answer(content: tuple[bytes, dict[str, str]], why: str) -> None:
    body, headers = content
    with (
        http_peer(lambda handler: handler.answer(200, "application/json", body, **headers)) as url,
        pytest.raises(ModelFailed, match=why) as caught,
    ):
        asked(network_at(url), CANVASES[:2])
    assert "Mustermann" not in str(caught.value)
    assert url not in str(caught.value)


def test_what_is_no_number_in_binary_data() -> None:
    said, behind = described(Tensor("heatmap", np.array([[1], [np.nan]], np.float32)), binary=True)
    body, length = joined({"model_name": "chest.network", "model_version": "1", "outputs": [said]}, behind)
    headers = {"Inference-Header-Content-Length": str(length)}
    with (
        http_peer(lambda handler: handler.answer(200, "application/octet-stream", body, **headers)) as url,
        pytest.raises(ModelFailed, match="heatmap: holds what is no number"),
    ):
        asked(network_at(url), CANVASES[:2])


@pytest.mark.parametrize(
    ("status", "told", "error", "why"),
    [
        (401, READY, AccessRefused, "HTTP 401: see token_file"),
        (403, READY, AccessRefused, "HTTP 403: see token_file"),
        (307, READY, ModelUnavailable, "HTTP 307: it leads elsewhere"),
        (408, READY, ModelUnavailable, "HTTP 408"),
        (429, READY, ModelUnavailable, "HTTP 429"),
        (502, READY, ModelUnavailable, "HTTP 502"),
        (503, READY, ModelUnavailable, "HTTP 503"),
        (504, READY, ModelUnavailable, "HTTP 504"),
        (404, {}, ModelUnavailable, "HTTP 404: the model is not ready there"),
        (400, {}, ModelUnavailable, "HTTP 400: the model is not ready there"),
        (500, {}, ModelUnavailable, "HTTP 500: the model is not ready there"),
        (400, {"ready": (200, {"ready": False})}, ModelUnavailable, "HTTP 400: the model is not ready there"),
        (
            404,
            {"metadata": (200, {"versions": ["2", "<b>"]})},
            ModelUnavailable,
            "now has version 2, another: promote a package for it",
        ),
        (400, READY, ModelFailed, "HTTP 400, though the server says that the model is ready: compare the card's input"),
        (413, READY, ModelFailed, "HTTP 413"),
        (500, READY, ModelFailed, "HTTP 500, though the server says that the model is ready: it fails on this input"),
    ],
)
def test_refusals(status: int, told: dict[str, tuple[int, Any]], error: type[RadstreamError], why: str) -> None:
    with (
        http_peer(Scripted(with_status(status, Location="http://127.0.0.1:1/"), **told)) as url,
        pytest.raises(error, match=why) as caught,
    ):
        asked(network_at(url), CANVASES[:2])
    assert "Mustermann" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


def test_it_becomes_another_model_in_mid_flight() -> None:
    """Between two parts of one batch, as when somebody rolls out a new version: nothing is answered, and nothing is lost."""
    with (
        http_peer(Scripted(well(), well(model_version="2"))) as url,
        pytest.raises(ModelUnavailable, match="the server now answers as version 2: promote a package for it"),
    ):
        asked(network_at(url), CANVASES[:4])


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"model_name": "another"}, "answers as model another: correct the package's card"),
        ({"model_name": None}, "answers as model another"),
        ({"model_version": None}, "does not say which version answers"),
        ({"model_version": 1}, "now answers as version another"),
        ({"model_version": "Mustermann Erika"}, "now answers as version another"),
    ],
)
def test_whoever_speaks_in_another_name_is_not_believed(changed: dict[str, Any], why: str) -> None:
    with http_peer(Scripted(well(**changed))) as url, pytest.raises(ModelUnavailable, match=why):
        asked(network_at(url), CANVASES[:2])


def test_a_server_without_addresses_of_versions() -> None:
    """It is asked without one, and has to say which version answered."""
    script = Scripted(with_status(404), well(), well(), well(model_version="2"), metadata=(200, {"name": "chest.network"}))
    with http_peer(script) as url:
        network = network_at(url)
        assert network(CANVASES[:2])["heatmap"].tolist() == [[1, 2], [3, 4]]
        assert network(CANVASES[:2])["heatmap"].tolist() == [[1, 2], [3, 4]]
        with pytest.raises(ModelUnavailable, match="now answers as version 2"):
            network(CANVASES[:2])
        network.close()
    model = "/v2/models/chest.network"
    assert script.paths == [f"{model}/versions/1/infer", model, *[f"{model}/infer"] * 3]


@pytest.mark.parametrize("reply", [hang, drip])
def test_a_server_that_hangs(reply: Callable[[Handler], None]) -> None:
    with http_peer(reply) as url:
        begun = time.monotonic()
        with pytest.raises(ModelUnavailable, match="no complete answer within 0.5 s"):
            asked(network_at(url, timeout_s=0.5))
        assert time.monotonic() - begun < TOO_LATE_S


# ------------------------------------------------------------------------------------------- connections


def test_nobody_there() -> None:
    with http_peer(hang) as url:
        pass
    with pytest.raises(ModelUnavailable, match="no connection"):
        asked(network_at(url))


def test_a_kept_connection_that_is_closed_just_then_costs_nothing() -> None:
    def hang_up(handler: Handler) -> None:
        handler.close_connection = True

    script = Scripted(well(), hang_up, well())
    with http_peer(script) as url:
        network = network_at(url)
        for _ in range(2):
            assert network(CANVASES[:2])["heatmap"].tolist() == [[1, 2], [3, 4]]
        network.close()
    assert len(script.paths) == 3


def test_a_server_that_hangs_up_each_time() -> None:
    def hang_up(handler: Handler) -> None:
        handler.close_connection = True

    with http_peer(Scripted(hang_up)) as url, pytest.raises(ModelUnavailable, match="no connection"):
        asked(network_at(url))


def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.inference._ANSWER_LIMIT", 1000)
    with (
        http_peer(lambda handler: handler.answer(200, "application/json", b" " * 2000)) as url,
        pytest.raises(ModelFailed, match="the answer is larger than 1000 bytes"),
    ):
        asked(network_at(url))


def test_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with http_peer(Scripted(well())) as url:
        assert asked(network_at(url), CANVASES[:2])["heatmap"].tolist() == [[1, 2], [3, 4]]

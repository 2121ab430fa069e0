"""Packages as others are served them: findings and the bare network, asked by Triton's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray

from connectors.film_files import FilmFiles
from connectors.inference import V2Network
from connectors.inference_served import always_ready
from connectors.inference_tensors import Tensor
from connectors.objects import in_memory
from schemas.errors import ModelFailed, SettingsInvalid
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, DEMONSTRATION, AnalysedImage, Finding, FindingKind, ModelIdentity, Region
from schemas.outputs import Coding, Output
from schemas.ports import Prediction, Radiograph
from streams.serving.answers import ServedFindings, outputs_of
from streams.serving.films import Films
from streams.serving.served import findings_of, network_of
from streams.steps.choosing import IntendedUse
from tests.contract.example_images import RAMP, part10, radiograph, uid_of
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.unit.inference_caller import Caller, serving

TUBE, SIZE = "endotracheal-tube", "heart-size"
FILM = radiograph()


class _Two:
    """Finds two things in each radiograph, and says one number."""

    identity = ModelIdentity(name="chest", version="7", weights_sha256="a" * 64)
    service = CHEST_RADIOGRAPH_FINDINGS

    def __init__(self, threshold: float | None = 0.4) -> None:
        self.threshold = threshold

    async def predict(self, radiograph: Radiograph) -> Prediction:
        uid, (rows, columns) = radiograph.sop_instance_uid, radiograph.pixels.shape
        output = Output(name=TUBE, coding=Coding(system="s", code="c", display="d"), value=0.1 + 0.2, threshold=0.5)
        image = AnalysedImage(
            sop_instance_uid=uid,
            pixel_sha256=radiograph.pixel_sha256,
            rows=rows,
            columns=columns,
            probability=None if self.threshold is None else 0.75,
            outputs=(output,),
        )
        if self.threshold is None:
            return Prediction(image, ())
        kinds = (FindingKind.NODULE, FindingKind.MASS)
        regions = (Region(sop_instance_uid=uid, left=n, top=1.5, width=2, height=3) for n in (0, 4))
        found = (
            Finding(ordinal=n, kind=kind, probability=n / 3, region=region)
            for n, (kind, region) in enumerate(zip(kinds, regions, strict=True), 1)
        )
        return Prediction(image, tuple(found))


class _Half:
    """A network: half of each canvas, and its mean."""

    def __call__(self, canvases: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return {"heatmap": canvases / 2, "mean": canvases.mean(axis=(1, 2, 3))[:, None]}

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def files() -> Iterator[FilmFiles]:
    with closing(FilmFiles(workers=1, timeout_s=20, memory_limit_bytes=1024**3, pixel_limit=100_000)) as files:
        yield files


@pytest.fixture
def films(files: FilmFiles) -> Films:
    return Films(files, FakeStudyArchive(), "http://127.0.0.1:1/dicom-web", in_memory(), 100_000, 100_000)


async def _with_triton(caller: Caller, ask: Any) -> Any:
    """Triton's client is of another loop: it is asked on a thread."""

    def asked() -> Any:
        with closing(triton.InferenceServerClient(f"127.0.0.1:{caller.port}")) as client:
            return ask(client)

    return await asyncio.to_thread(asked)


def _input(name: str, values: NDArray[Any], datatype: str, *, binary: bool) -> triton.InferInput:
    one = triton.InferInput(name, list(values.shape), datatype)
    one.set_data_from_numpy(values, binary_data=binary)
    return one


def _document(answer: triton.InferResult) -> ServedFindings:
    [document] = answer.as_numpy("findings")
    return ServedFindings.model_validate_json(document)


@pytest.mark.parametrize("binary", [False, True])
async def test_findings_for_tritons_own_client(films: Films, binary: bool) -> None:
    model = _Two()

    def ask(client: triton.InferenceServerClient) -> triton.InferResult:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("chest", "7")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        told = client.get_model_metadata("chest")
        assert {one["name"] for one in told["outputs"]} >= {"suitable", "findings", TUBE}
        wanted = [triton.InferRequestedOutput(one["name"], binary_data=binary) for one in told["outputs"]]
        image = _input("image", RAMP, "UINT16", binary=binary)
        return client.infer("chest", [image], outputs=wanted, request_id="42", parameters={"ViewPosition": "PA"})

    async with serving(findings_of(model, [TUBE], films, IntendedUse(), always_ready)) as caller:
        answer = await _with_triton(caller, ask)
    response = answer.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == ("chest", "7", "42")
    assert response["parameters"] == {"note": DEMONSTRATION, "weights_sha256": "a" * 64}
    assert answer.as_numpy("suitable").tolist() == [True]
    assert [one.decode() if isinstance(one, bytes) else one for one in answer.as_numpy("reason")] == [""]
    assert answer.as_numpy("probability").tolist() == [0.75]
    assert answer.as_numpy("threshold").tolist() == [0.4]
    assert answer.as_numpy("boxes").tolist() == [[0, 1.5, 2, 3], [4, 1.5, 2, 3]]
    assert answer.as_numpy("box_probabilities").tolist() == [1 / 3, 2 / 3]
    assert [one.decode() if isinstance(one, bytes) else one for one in answer.as_numpy("box_kinds")] == ["nodule", "mass"]
    assert answer.as_numpy(TUBE).tolist() == [0.1 + 0.2], "to the last bit"
    document = _document(answer)
    assert document.image is not None
    seen = Radiograph(document.image.sop_instance_uid, RAMP, document.image.pixel_sha256)
    assert Prediction(document.image, document.findings) == await model.predict(seen), "nothing is lost"
    assert (document.model, document.service, document.threshold) == (model.identity, model.service, 0.4)


async def test_a_file_for_tritons_own_client(films: Films) -> None:
    def ask(client: triton.InferenceServerClient) -> triton.InferResult:
        return client.infer("chest", [_input("dicom", np.array([part10(FILM)], dtype=object), "BYTES", binary=True)])

    async with serving(findings_of(_Two(None), [TUBE], films, IntendedUse(), always_ready)) as caller:
        answer = await _with_triton(caller, ask)
    assert [answer.as_numpy(name).shape for name in ("probability", "threshold", "boxes", "box_kinds")] == [
        (0,),
        (0,),
        (0, 4),
        (0,),
    ]
    image = _document(answer).image
    assert image is not None and (image.sop_instance_uid, image.probability) == (uid_of(FILM), None)


async def test_an_image_that_is_not_for_the_model_is_an_answer(films: Films) -> None:
    file = part10(radiograph(Modality="MR"))
    async with serving(findings_of(_Two(), [TUBE], films, IntendedUse(), always_ready)) as caller:
        answer = await caller.ask("POST", "/v2/models/chest/infer", data=file, headers={"Inference-Header-Content-Length": "0"})
    outputs = {one["name"]: one["data"] for one in answer.json()["outputs"]}
    document = ServedFindings.model_validate_json(outputs.pop("findings")[0])
    assert document.not_analysed is not None and document.not_analysed.reason == "wrong-modality"
    assert outputs.pop("reason") == [document.not_analysed.explanation]
    empty: dict[str, list[Any]] = {name: [] for name in ("probability", "boxes", "box_probabilities", "box_kinds", TUBE)}
    assert outputs == {**empty, "suitable": [False], "threshold": [0.4]}


def test_names_that_are_taken() -> None:
    with pytest.raises(SettingsInvalid, match="an output cannot be called boxes"):
        outputs_of([TUBE, "boxes"])


@pytest.mark.parametrize("binary", [False, True])
async def test_one_radstream_is_the_inference_server_of_another(binary: bool) -> None:
    canvases = np.random.default_rng(1).normal(size=(5, 3, 8, 8)).astype(np.float32)
    with ThreadPoolExecutor(1) as thread:
        served = await network_of("chest", "7", _Half(), (3, 8, 8), thread, always_ready)
        assert served.metadata(["7"])["outputs"] == [
            {"name": "heatmap", "datatype": "FP32", "shape": [-1, 3, 8, 8]},
            {"name": "mean", "datatype": "FP32", "shape": [-1, 1]},
        ]
        async with serving(served) as caller:
            network = V2Network(
                caller.url,
                model_name="chest.network",
                model_version="7",
                input_name="canvas",
                output_names=["mean", "heatmap"],
                binary=binary,
                max_batch=2,
            )
            with closing(network):
                answer = await asyncio.to_thread(network, canvases)
            for name, values in _Half()(canvases).items():
                np.testing.assert_array_equal(answer[name], values)
            empty = {"inputs": [{"name": "canvas", "shape": [0, 3, 8, 8], "datatype": "FP32", "data": []}]}
            for body in (empty, {"inputs": []}):
                assert (await caller.infer(body, "/v2/models/chest.network/infer")).status_code == 400


async def test_however_many_canvases_come_a_pass_holds_eight() -> None:
    passes: list[int] = []

    class Counted(_Half):
        def __call__(self, canvases: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
            passes.append(len(canvases))
            return super().__call__(canvases)

    canvases = np.arange(20 * 64, dtype=np.float32).reshape(20, 1, 8, 8)
    with ThreadPoolExecutor(1) as thread:
        served = await network_of("chest", "7", Counted(), (1, 8, 8), thread, always_ready)
        answer = {tensor.name: tensor.values for tensor in await served.infer({"canvas": Tensor("canvas", canvases)}, {})}
    assert passes == [1, 8, 8, 4], "one to see what it gives"
    np.testing.assert_array_equal(answer["heatmap"], canvases / 2)


async def test_a_network_that_does_not_work_is_not_served() -> None:
    def broken(canvases: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        raise ModelFailed("x", "y", "z")

    broken.close = lambda: None  # type: ignore[attr-defined]
    with ThreadPoolExecutor(1) as thread, pytest.raises(ModelFailed):
        await network_of("chest", "7", broken, (1, 8, 8), thread, always_ready)  # type: ignore[arg-type]

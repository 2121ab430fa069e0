"""A program of torch.export from somebody else: what it may hold, and that nothing of it is ever run while it is read."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.card import Program
from models.exported import Exported, read_program
from models.registry import load
from models.torch_network import TorchNetwork
from schemas.errors import ModelFailed
from tests.contract.panel_package import PanelNetwork, exported, panel_card, panel_program, write_package

Files = dict[str, bytes]
GRAPH, WEIGHTS, CONSTANTS = (
    "models/model.json",
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
SAMPLES = "data/sample_inputs/model.pt"


def read(stored: bytes, torch_version: str = torch.__version__) -> Exported:
    return read_program(stored, Program(file="program.pt2", sha256="0" * 64, torch=torch_version), "panel/1")


def files_of(stored: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(stored)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def archive_of(files: Files, compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, stored in files.items():
            archive.writestr(f"program/{name}", stored)
    return out.getvalue()


def changed(change: Callable[[dict[str, Any]], object], file: str = GRAPH) -> bytes:
    files = files_of(panel_program())
    described = json.loads(files[file])
    change(described)
    return archive_of(files | {file: json.dumps(described).encode()})


def refused(stored: bytes) -> str:
    with pytest.raises(ModelFailed, match=r"^load: panel/1: program\.pt2") as raised:
        read(stored)
    return raised.value.reason


# ------------------------------------------------------------------------------------------------------------- that speaks


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


def test_sample_inputs_are_never_looked_at() -> None:
    read(archive_of(files_of(panel_program()) | {SAMPLES: Bomb.pickled()}))
    assert not Bomb.gone_off


# -------------------------------------------------------------------------------------------------- that would do something


class Bomb:
    """Unpickling it is seen."""

    gone_off = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Bomb.light, ()

    @staticmethod
    def light() -> tuple[()]:
        Bomb.gone_off = True
        return ()

    @staticmethod
    def pickled() -> bytes:
        out = io.BytesIO()
        torch.save(Bomb(), out)
        return out.getvalue()


@pytest.fixture(autouse=True)
def not_lit() -> None:
    Bomb.gone_off = False


def test_the_bomb_works() -> None:
    """What torch.export.load does with an archive as it is: or the tests below would prove nothing."""
    torch.export.load(io.BytesIO(archive_of(files_of(panel_program()) | {SAMPLES: Bomb.pickled()})))
    assert Bomb.gone_off


def pickled_weight(config: dict[str, Any]) -> None:
    config["config"]["cells.bias"]["use_pickle"] = True


def elsewhere(config: dict[str, Any]) -> None:
    config["config"]["cells.bias"]["path_name"] = "../sample_inputs/model.pt"


def object_constant(config: dict[str, Any]) -> None:
    config["config"]["x"] = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}


@pytest.mark.parametrize(("change", "file"), [(pickled_weight, WEIGHTS), (elsewhere, WEIGHTS), (object_constant, CONSTANTS)])
def test_what_would_be_unpickled(change: Callable[[dict[str, Any]], object], file: str) -> None:
    assert "never unpickled here" in refused(changed(change, file))


@pytest.mark.parametrize(
    "name",
    [
        "data/constants/opaque_obj_0",
        "data/constants/custom_obj_0",
        "data/weights/model.pt",
        "data/constants/model.pt",
        "data/aotinductor/model/wrapper.so",
        "models/other.json",
        "serialized_example_inputs.pt",
        "data.pkl",
    ],
)
def test_what_is_no_graph_and_no_tensor(name: str) -> None:
    assert "holds more than a graph and tensors" in refused(archive_of(files_of(panel_program()) | {name: Bomb.pickled()}))
    assert not Bomb.gone_off


@pytest.mark.parametrize("stored", [pickle.dumps(Bomb()), Bomb.pickled(), b"", b"PK\x05\x06" + bytes(18), panel_program()[:-30]])
def test_what_is_no_archive_of_torch_export(stored: bytes) -> None:
    refused(stored)
    assert not Bomb.gone_off


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten.__class__.__init__",
        "torch.ops.load_library",
        "torch.ops.higher_order.cond",
        "torch.hub.load",
        "math.__loader__.load_module",
        "_operator.attrgetter",
    ],
)
def test_operators_that_are_not_let_in(target: str) -> None:
    def change(program: dict[str, Any]) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    assert f"uses {target}, which is no operator on tensors" in refused(changed(change))


def first_size(program: dict[str, Any]) -> dict[str, Any]:
    size: dict[str, Any] = program["graph_module"]["graph"]["tensor_values"]["canvas"]["sizes"][0]["as_expr"]
    return size


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "Symbol('s77', positive=True).__class__",
        "Symbol('s77') if open('x') else 1",
        "exec('1')",
        "1.e",
        "lambda: 1",
        "[1]",
    ],
)
def test_expressions_that_are_not_arithmetic(expression: str) -> None:
    assert "no plain name or arithmetic" in refused(changed(lambda program: first_size(program).update(expr_str=expression)))


def test_the_arithmetic_of_sizes_is_let_in() -> None:
    said = changed(lambda program: program.update(guards_code=["__import__('os').abort()"]))
    assert read(said).most == 256  # guards are not read


def put(value: object, *path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(program: Any) -> None:
        for step in path[:-1]:
            program = program[step]
        program[path[-1]] = value

    return change


MODULE = "graph_module"
ROOT = (MODULE, "module_call_graph", 0, "signature")
DEFAULTDICT = '[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'
ENUM = json.dumps(
    [1, {"type": "builtins.dict", "context": '[{"__enum__": true, "fqn": "os:x", "name": "y"}]', "children_spec": []}]
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("x):\n  import os\ndef f(", MODULE, "graph", "inputs", 0, "as_tensor", "name"), "no plain name"),
        (put({"x(": 1}, MODULE, "graph", "sym_int_values"), "no plain name"),
        (put("a'b", MODULE, "signature", "input_specs", 0, "parameter", "parameter_name"), "no plain name"),
        (put(["x=print()"], *ROOT, "forward_arg_names"), "no plain name"),
        (put({"as_operator": "torch.os.system"}, MODULE, "graph", "nodes", 0, "inputs", 0, "arg"), "uses torch.os.system"),
        (put({"x": {"name": "x", "class_fqn": "x"}}, MODULE, "graph", "custom_obj_values"), "an object that is no tensor"),
        (put({"custom_obj": {"arg": {"name": "x"}}}, MODULE, "signature", "input_specs", 0), "given more than tensors"),
        (put({"buffer_mutation": {}}, MODULE, "signature", "output_specs", 0), "changes its own weights"),
        (put(DEFAULTDICT, *ROOT, "in_spec"), "takes other inputs than one tensor"),
        (put(DEFAULTDICT, *ROOT, "out_spec"), "answers with something else"),
        (put(ENUM, *ROOT, "out_spec"), "answers with something else"),
        (put([], MODULE, "module_call_graph"), "not as torch.export.save writes it"),
        (put(None, MODULE, "graph"), "not as torch.export.save writes it"),
    ],
)
def test_graphs_that_are_more_than_a_graph(change: Callable[[dict[str, Any]], None], words: str) -> None:
    assert words in refused(changed(change))


def test_a_program_that_keeps_a_state() -> None:
    class Remembering(nn.Module):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, canvas: Tensor) -> Tensor:
            self.seen.add_(canvas.mean())
            return canvas + self.seen

    functional = torch.export.export(Remembering(), (torch.zeros(1, 1, 8, 8),)).run_decompositions({})
    out = io.BytesIO()
    torch.export.save(functional, out)
    assert "changes its own weights when it is asked" in refused(out.getvalue())


@pytest.mark.filterwarnings("ignore:.*training.*")
def test_a_program_that_was_exported_while_it_learnt(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match="changes its own weights when it is asked: export it in evaluation mode"):
        load(package(tmp_path, exported(PanelNetwork().train(), 64)), tests=True)


def test_a_program_of_two_inputs() -> None:
    class Two(nn.Module):
        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            return one + other

    out = io.BytesIO()
    torch.export.save(torch.export.export(Two(), (torch.zeros(1), torch.zeros(1))), out)
    assert "takes other inputs than one tensor" in refused(out.getvalue())


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


def package(root: Path, program: bytes, **changes: object) -> Path:
    said = {"file": "program.pt2", "sha256": hashlib.sha256(program).hexdigest(), "torch": torch.__version__}
    return write_package(root, panel_card() | {"program": said} | changes, {"program.pt2": program})


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

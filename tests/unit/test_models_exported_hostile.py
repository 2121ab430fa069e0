"""A program of torch.export that would do something while it is read: it is not let in, and nothing of it is run."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.registry import load
from schemas.errors import ModelFailed
from tests.contract.panel_package import PanelNetwork, exported, panel_program
from tests.unit.exported_archives import (
    CONSTANTS,
    MODULE,
    SAMPLES,
    WEIGHTS,
    archive_of,
    changed,
    files_of,
    package,
    put,
    read,
    refused,
)


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


def test_sample_inputs_are_never_looked_at() -> None:
    read(archive_of(files_of(panel_program()) | {SAMPLES: Bomb.pickled()}))
    assert not Bomb.gone_off

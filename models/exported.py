"""A `torch.export` program from an archive that nobody has to trust.

`torch.export.load` unpickles (weights and constants marked so, custom objects, the sample inputs), loads shared libraries
(AOTInductor), imports what a tree specification names, evaluates expressions with sympy and looks targets up by attribute. So it
never sees the file: it is given another archive, written here, of the weights as raw numbers and a graph in which every string is
a plain name, every target an operator on tensors or a number and every expression arithmetic."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._export.serde.schema import SCHEMA_VERSION
from torch.export.passes import move_to_device_pass

from models.card import TENSOR_NAME
from models.card_origin import Program
from schemas.errors import ModelFailed

#: what is read of an archive; the folder before it has any name
_GRAPH = "models/model.json"
_CONFIGS = {"data/weights/": "model_weights_config.json", "data/constants/": "model_constants_config.json"}
_RECORD = re.compile(r"data/(weights/weight|constants/tensor)_[0-9]+")
#: written anew or not needed; the sample inputs are pickled and belong to whoever exported
_PASSED_OVER = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|data/sample_inputs/.*|extra/.*"
)
_ARCHIVE_VERSION = b"0"

_PLAIN = re.compile(r"[A-Za-z0-9_.]*")
#: arguments such as bilinear, or einsum's bij,bjk->bik
_ARGUMENT = re.compile(r"[A-Za-z0-9_.,> -]*")
_TARGET = re.compile(
    r"torch\.ops\.(aten|torchvision)\.(?!__|from_file\.|save\.|load\.)[A-Za-z0-9_]+\.(?!__)[A-Za-z0-9_]+"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge)"
    r"|math\.(ceil|floor|trunc|sqrt)|torch\.(_sym_sqrt|sym_(float|int|ite|max|min|not|sum))"
)
#: sympy's srepr: the name of a size, its assumptions, functions, numbers
_SYMBOL = r"Symbol\('[su][0-9]+'(, [a-z_]+=(True|False))*\)"
_FUNCTIONS = (
    "Add|Mul|Pow|Integer|Rational|Max|Min|FloorDiv|CleanDiv|CeilDiv|Mod|PythonMod|ModularIndexing|IntTrueDiv|ToFloat|TruncToInt"
    "|CeilToInt|FloorToInt"
)
_EXPRESSION = re.compile(rf"({_SYMBOL}|({_FUNCTIONS})\b|[0-9]+(?![A-Za-z_.])|[-+*/(), ])*")
#: one positional tensor
_LEAF: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
_IN_SPEC = {
    "type": "builtins.tuple",
    "context": "null",
    "children_spec": [
        {"type": "builtins.tuple", "context": "null", "children_spec": [_LEAF]},
        {"type": "builtins.dict", "context": "[]", "children_spec": []},
    ],
}
_TENSOR_NAME = re.compile(TENSOR_NAME)


class _Unacceptable(Exception):
    """Why, in our own words."""


@dataclass(frozen=True)
class Exported:
    """`most`: canvases in one call, None: any number. `shape` of one canvas, None where any."""

    program: torch.export.ExportedProgram
    most: int | None
    shape: tuple[int | None, ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Weights and constants."""
        constants = (one for one in self.program.constants.values() if isinstance(one, Tensor))
        return (*self.program.state_dict.values(), *constants)

    def module_on(self, device: torch.device) -> nn.Module:
        """It is exported for a processor; its graph names the device wherever it makes a tensor."""
        return (self.program if device.type == "cpu" else move_to_device_pass(self.program, device.type)).module()


def read_program(stored: bytes, program: Program, reference: str) -> Exported:
    """Raises ModelFailed: no such program, one that would need more than tensors and arithmetic, or one of another torch."""
    try:
        graph, records = _read(stored)
        _check_version(graph, program)
        checked = _checked(graph)
        exported = torch.export.load(io.BytesIO(_written(checked, records)))
    except _Unacceptable as error:
        raise ModelFailed("load", reference, f"{program.file}: {error}") from None
    except Exception as error:
        said = f"{program.file} of torch {program.torch} cannot be read by torch {torch.__version__} ({type(error).__name__})"
        raise ModelFailed("load", reference, f"{said}: export it again with this torch") from error
    name, sizes = _input(checked)
    numbers = [size.get("as_int") for size in sizes]
    most = numbers[0] if sizes and numbers[0] is not None else _upper(checked, sizes)
    if numbers and numbers[0] not in (None, 1):
        said = f"takes exactly {numbers[0]} images: export it with a batch of one, or of any size"
        raise ModelFailed("load", reference, f"{program.file}: {name} {said}")
    return Exported(exported, most, tuple(numbers[1:]))


def _read(stored: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The graph, and the records of numbers with their two lists."""
    try:
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            names = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            wanted = {}
            for name, info in names.items():
                if name == _GRAPH or _RECORD.fullmatch(name) or name in {folder + file for folder, file in _CONFIGS.items()}:
                    if info.compress_type != zipfile.ZIP_STORED:
                        raise _Unacceptable("its records are compressed: torch.export.save does not do that")
                    wanted[name] = archive.read(info)
                elif not _PASSED_OVER.fullmatch(name):
                    raise _Unacceptable("it holds more than a graph and tensors (a pickle, a library): export it without")
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise _Unacceptable("is no archive of torch.export.save") from error
    if _GRAPH not in wanted:
        raise _Unacceptable("holds no graph of torch.export.save")
    graph = _json(wanted.pop(_GRAPH))
    for folder, file in _CONFIGS.items():
        wanted[folder + file] = json.dumps(_raw_only(_json(wanted.get(folder + file, b"")))).encode()
    return graph, wanted


def _json(stored: bytes) -> dict[str, Any]:
    try:
        read = json.loads(stored)
    except (ValueError, RecursionError) as error:
        raise _Unacceptable("one of its lists is not JSON") from error
    if not isinstance(read, dict):
        raise _Unacceptable("one of its lists is not JSON of an object")
    return read


def _raw_only(config: dict[str, Any]) -> dict[str, Any]:
    for entry in config.get("config", {}).values():
        if entry.get("use_pickle") is not False or not re.fullmatch(r"(weight|tensor)_[0-9]+", str(entry.get("path_name"))):
            raise _Unacceptable("holds a pickle or an object that is no tensor: export it without (never unpickled here)")
    _check_strings(config)
    return config


def _check_version(graph: dict[str, Any], program: Program) -> None:
    version, said = graph.get("schema_version"), graph.get("torch_version")
    major, minor = (version.get("major"), version.get("minor")) if isinstance(version, dict) else (None, None)
    if major != SCHEMA_VERSION[0]:
        ours = f"torch {torch.__version__} reads schema {SCHEMA_VERSION[0]}.{SCHEMA_VERSION[1]}"
        raise _Unacceptable(f"torch {program.torch} wrote it with schema {major}.{minor}, {ours}: export it again with this torch")
    if said != program.torch:
        raise _Unacceptable(f"the card says torch {program.torch}, the program another: correct the card")


def _checked(program: dict[str, Any]) -> dict[str, Any]:
    """The same without what is for people and checks of its own; the rest is nothing but tensors and arithmetic."""
    try:
        module = program["graph_module"]
        (call,) = [entry for entry in module["module_call_graph"] if entry["fqn"] == ""]
        _check_trees(call["signature"])
        trees = call["signature"] | {"in_spec": "", "out_spec": ""}
        signature, graph = module["signature"], module["graph"]
        if any("user_output" not in spec for spec in signature["output_specs"]):
            raise _Unacceptable("changes its own weights when it is asked: export it in evaluation mode")
        if any(not spec.keys() <= {"user_input", "parameter", "buffer", "tensor_constant"} for spec in signature["input_specs"]):
            raise _Unacceptable("is given more than tensors")
        for node in _dictionaries(graph):
            if "metadata" in node:
                node["metadata"] = {}
        if graph.get("custom_obj_values"):
            raise _Unacceptable("holds an object that is no tensor")
        stripped = {"graph": graph, "signature": signature, "metadata": {}, "treespec_namedtuple_fields": {}}
        _check_strings([stripped, trees, program["range_constraints"], program["opset_version"], program["verifiers"]])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise _Unacceptable("its graph is not as torch.export.save writes it") from error
    return program | {"graph_module": stripped | {"module_call_graph": [call]}, "guards_code": []}


def _check_trees(signature: dict[str, Any]) -> None:
    version, tree = json.loads(signature["in_spec"])
    if version != 1 or tree != _IN_SPEC:
        raise _Unacceptable("takes other inputs than one tensor")
    version, tree = json.loads(signature["out_spec"])
    if tree == _LEAF and version == 1:
        return
    keys = json.loads(tree["context"]) if version == 1 and tree["type"] == "builtins.dict" else None
    if not isinstance(keys, list) or not all(isinstance(key, str) and _TENSOR_NAME.fullmatch(key) for key in keys):
        raise _Unacceptable("answers with something else than a tensor, or a dictionary of tensors")
    if tree["children_spec"] != [_LEAF] * len(keys):
        raise _Unacceptable("answers with a dictionary of something else than tensors")


def _dictionaries(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _dictionaries(part)


_RULES = {"target": _TARGET, "as_operator": _TARGET, "expr_str": _EXPRESSION, "as_string": _ARGUMENT, "as_strings": _ARGUMENT}


def _strings(tree: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All of them, with the key they stand under; keys too."""
    if isinstance(tree, str):
        yield key, tree
    elif isinstance(tree, list):
        for part in tree:
            yield from _strings(part, key)
    elif isinstance(tree, dict):
        for name, part in tree.items():
            yield "", name
            yield from _strings(part, name)


def _check_strings(tree: Any) -> None:
    """Whatever is a string may become a name in code that torch makes, or be looked up or evaluated."""
    for key, string in _strings(tree):
        if not _RULES.get(key, _PLAIN).fullmatch(string):
            if key in ("target", "as_operator") and _PLAIN.fullmatch(string):
                raise _Unacceptable(f"uses {string}, which is no operator on tensors that is let in")
            raise _Unacceptable("its graph holds what is no plain name or arithmetic")


def _written(graph: dict[str, Any], records: dict[str, bytes]) -> bytes:
    """An archive as torch.export.save writes it, without sample inputs."""
    described = {"archive_format": b"pt2", "archive_version": _ARCHIVE_VERSION, "byteorder": b"little", ".data/version": b"6"}
    described |= {_GRAPH: json.dumps(graph).encode(), "data/sample_inputs/model.pt": b""}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, record in (described | records).items():
            archive.writestr(f"program/{name}", record)
    return out.getvalue()


def _input(program: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Name and sizes of what it is given."""
    module = program["graph_module"]
    (name,) = [
        spec["user_input"]["arg"]["as_tensor"]["name"] for spec in module["signature"]["input_specs"] if "user_input" in spec
    ]
    return name, module["graph"]["tensor_values"][name]["sizes"]


def _upper(program: dict[str, Any], sizes: list[dict[str, Any]]) -> int | None:
    """Of the number of images, where the program has a limit."""
    symbol = re.fullmatch(_SYMBOL, sizes[0]["as_expr"]["expr_str"]) if sizes else None
    limit: int | None = program["range_constraints"].get(symbol[0].split("'")[1], {}).get("max_val") if symbol else None
    return limit

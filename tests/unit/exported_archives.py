"""Archives of torch.export as somebody else may have made them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.card_origin import Program
from models.exported import Exported, read_program
from schemas.errors import ModelFailed
from tests.contract.panel_package import panel_card, panel_program, write_package

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


def put(value: object, *path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(program: Any) -> None:
        for step in path[:-1]:
            program = program[step]
        program[path[-1]] = value

    return change


MODULE = "graph_module"


def package(root: Path, program: bytes, **changes: object) -> Path:
    said = {"file": "program.pt2", "sha256": hashlib.sha256(program).hexdigest(), "torch": torch.__version__}
    return write_package(root, panel_card() | {"program": said} | changes, {"program.pt2": program})

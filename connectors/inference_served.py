"""What an inference server offers, and its requests and answers as bytes: Open Inference Protocol v2, with Triton's binary tensor
data extension. The names in brackets are sections of KServe's required_api.md. Pure; knows no model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from connectors.inference_tensors import BYTES, Tensor, as_bytes, described, joined, read, split
from schemas.errors import MalformedMessage

#: characters of an id that is given back
_ID_LIMIT = 256

Parameter = str | int | float | bool

Ready = Callable[[], Awaitable[bool]]
"""Whether a model can be asked now, within a second or two. It is asked often, by health checks that show no token."""


async def always_ready() -> bool:
    """Of what is loaded here before it is served."""
    return True


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """What a model takes or gives; -1 in `shape`: any size. `datatypes`: the first is the one that is told, the others are taken
    too. `base64`: its bytes are base64 in JSON, which has none."""

    name: str
    datatypes: tuple[str, ...]
    shape: tuple[int, ...]
    base64: bool = False

    def as_json(self) -> dict[str, object]:
        """[Model Metadata Response JSON Object]"""
        return {"name": self.name, "datatype": self.datatypes[0], "shape": list(self.shape)}

    def check(self, tensor: Tensor) -> None:
        """Raises MalformedMessage."""
        if tensor.datatype not in self.datatypes:
            _reject(f"input {self.name}", f"is no {' or '.join(self.datatypes)}")
        shape = tensor.values.shape
        if len(shape) != len(self.shape) or any(wanted not in (-1, size) for wanted, size in zip(self.shape, shape, strict=True)):
            _reject(f"input {self.name}", f"has not the shape {list(self.shape)}")


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What a model is asked. `outputs`: those that are wanted, in this order, and whether as binary data."""

    id: str | None
    inputs: Mapping[str, Tensor]
    parameters: Mapping[str, Parameter]
    outputs: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Served:
    """One version of a model. `infer` is given checked tensors and parameters, and gives every output; it raises MalformedMessage,
    InvalidResource (about an input), what is not there yet (NotYet), Unavailable, Refused, ModelFailed. `whole_body`: the BYTES
    input that a body without JSON is."""

    name: str
    version: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    infer: Callable[[Mapping[str, Tensor], Mapping[str, Parameter]], Awaitable[Sequence[Tensor]]]
    ready: Ready = always_ready
    platform: str = "radstream"
    whole_body: str | None = None
    #: said with every answer
    said: Mapping[str, Parameter] = field(default_factory=dict)

    def metadata(self, versions: Sequence[str]) -> dict[str, object]:
        """[Model Metadata Response JSON Object]"""
        return {
            "name": self.name,
            "versions": list(versions),
            "platform": self.platform,
            "inputs": [one.as_json() for one in self.inputs],
            "outputs": [one.as_json() for one in self.outputs],
        }


def request_of(served: Served, body: bytes, header_length: str | None) -> InferenceRequest:
    """`header_length`: Inference-Header-Content-Length as sent. Raises MalformedMessage, which repeats nothing of what was sent."""
    offered = [one.name for one in served.outputs]
    if header_length == "0" and served.whole_body is not None:  # the extension's raw binary request
        return InferenceRequest(None, {served.whole_body: as_bytes(served.whole_body, body)}, {}, dict.fromkeys(offered, False))
    envelope, binary = split(body, header_length)
    parameters = _parameters(envelope.get("parameters") or {}, "parameters")
    takes = {one.name: one for one in served.inputs}
    encoded = [name for name, one in takes.items() if one.base64]
    inputs = read(envelope.get("inputs"), binary, "input", takes, encoded)
    for name, tensor in inputs.items():
        takes[name].check(tensor)
    wanted = _wanted(envelope.get("outputs"), offered, binary=parameters.get("binary_data_output") is True)
    return InferenceRequest(_id_of(envelope), inputs, parameters, wanted)


def answer_of(served: Served, request: InferenceRequest, tensors: Sequence[Tensor]) -> tuple[bytes, str | None]:
    """[Inference Response JSON Object]: body and Inference-Header-Content-Length. Raises ValueError for what is no number."""
    given = {tensor.name: tensor for tensor in tensors}
    outputs, binary = [], list[bytes]()
    for name, as_binary in request.outputs.items():
        if given[name].datatype != BYTES and not np.isfinite(given[name].values).all():
            raise ValueError(f"{name} holds what is no number")
        said, content = described(given[name], binary=as_binary)
        outputs.append(said)
        binary += content
    envelope: dict[str, object] = {"model_name": served.name, "model_version": served.version}
    if request.id is not None:
        envelope["id"] = request.id
    if served.said:
        envelope["parameters"] = dict(served.said)
    return joined({**envelope, "outputs": outputs}, binary)


def _id_of(envelope: Mapping[str, Any]) -> str | None:
    told = envelope.get("id")
    if told is not None and not (isinstance(told, str) and len(told) <= _ID_LIMIT):
        _reject("id", f"is no text of at most {_ID_LIMIT} characters")
    return told


def _wanted(told: object, offered: Sequence[str], *, binary: bool) -> dict[str, bool]:
    """[Request Output]; without any: all."""
    if told is None or told == []:
        return dict.fromkeys(offered, binary)
    if not isinstance(told, list):
        _reject("outputs", "is no list")
    wanted: dict[str, bool] = {}
    for place, one in enumerate(told):
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str) or name not in offered:
            _reject(f"output {place}", f"is none of {', '.join(offered)}")
        wanted[name] = _parameters(one.get("parameters") or {}, f"output {name}").get("binary_data", binary) is True
    return wanted


def _parameters(told: object, where: str) -> dict[str, Parameter]:
    """[Parameters]"""
    if not isinstance(told, dict) or not all(isinstance(value, Parameter) for value in told.values()):
        _reject(where, "is no object of texts, numbers and truth values")
    return told


def _reject(where: str, why: str) -> NoReturn:
    raise MalformedMessage("inference", where, why)

"""Tensors of the Open Inference Protocol v2 in HTTP bodies: as JSON (required_api, "Tensor Data"), or as bytes behind the JSON
(Triton's "Binary Tensor Data Extension"). Pure; of what a peer sent nothing is repeated in an error."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MalformedMessage

#: required_api, "Tensor Data Types"; binary data are little-endian
BYTES = "BYTES"
_NUMPY = {"BOOL": "|b1", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"} | {
    f"{sign}INT{bits}": f"<{kind}{bits // 8}" for sign, kind in (("U", "u"), ("", "i")) for bits in (8, 16, 32, 64)
}
_DATATYPES = {np.dtype(code): name for name, code in _NUMPY.items()}
#: kinds of numbers in JSON (numpy's) that a datatype may be given as
_IN_JSON = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}
#: dimensions of a tensor, and commas in a body: each number of a JSON array costs tens of bytes of memory
_DIMENSIONS, _COMMAS = 8, 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tensor:
    """`values`: of the datatype's numpy type; BYTES are objects, `bytes` each."""

    name: str
    values: NDArray[Any]

    @property
    def datatype(self) -> str:
        return _DATATYPES.get(self.values.dtype.newbyteorder("<"), BYTES)


def as_bytes(name: str, *elements: bytes) -> Tensor:
    """A BYTES tensor of one dimension."""
    values = np.empty(len(elements), dtype=object)
    values[:] = elements
    return Tensor(name, values)


def split(body: bytes, header_length: str | None) -> tuple[dict[str, Any], memoryview]:
    """The JSON object of a body, and the bytes behind it; `header_length`: Inference-Header-Content-Length, as sent. Raises
    MalformedMessage."""
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 16):
            _reject("Inference-Header-Content-Length", "is no number of bytes")
        length = int(header_length)
        if length > len(body):
            _reject("Inference-Header-Content-Length", "is more than there is")
    head = body[:length]
    if head.count(b",") > _COMMAS:
        _reject("body", f"its JSON holds more than {_COMMAS} values: send tensors as binary data")
    try:
        envelope = json.loads(head.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError):  # also of UTF-8
        _reject("body", "is no JSON")
    if not isinstance(envelope, dict):
        _reject("body", "its JSON is no object")
    return envelope, memoryview(body)[length:]


def joined(envelope: Mapping[str, object], binary: Sequence[bytes]) -> tuple[bytes, str | None]:
    """Body and Inference-Header-Content-Length, None where there is no binary data: the other way round."""
    head = json.dumps(envelope, separators=(",", ":"), allow_nan=False).encode("ascii")
    return (b"".join((head, *binary)), str(len(head))) if binary else (head, None)


def read(
    told: object, binary: memoryview, side: str, names: Collection[str], base64_names: Collection[str] = (), *, others: bool = False
) -> dict[str, Tensor]:
    """The tensors of `inputs` or `outputs` (`side`: "input", "output") with one of these names; `others`: more may come, which are
    left out. Bytes of `base64_names` are base64 in JSON. Raises MalformedMessage that names the tensor, or its place where the name
    is none of ours."""
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        _reject(f"{side}s", "is no list of tensors")
    tensors: dict[str, Tensor] = {}
    for place, one in enumerate(told):
        name = one.get("name")
        ours = isinstance(name, str) and name in names
        if not ours and not others:
            _reject(f"{side} {place}", f"is none of {', '.join(names)}")
        where = f"{side} {name if ours else place}"
        if name in tensors:
            _reject(where, "comes twice")
        values, binary = _values(one, binary, where, encoded=name in base64_names)
        if ours:
            tensors[name] = Tensor(name, values)
    if len(binary):
        _reject("body", "there are more bytes than the tensors say")
    return tensors


def described(tensor: Tensor, *, binary: bool) -> tuple[dict[str, object], list[bytes]]:
    """A tensor as JSON, and its bytes when they go behind it. `read` the other way round."""
    said: dict[str, object] = {"name": tensor.name, "shape": list(tensor.values.shape), "datatype": tensor.datatype}
    if binary:
        content = _packed(tensor)
        return {**said, "parameters": {"binary_data_size": len(content)}}, [content]
    flat = tensor.values.ravel().tolist()
    return {**said, "data": [one.decode("utf-8") for one in flat] if tensor.datatype == BYTES else flat}, []


def _values(one: Mapping[str, Any], binary: memoryview, where: str, *, encoded: bool) -> tuple[NDArray[Any], memoryview]:
    datatype, shape = one.get("datatype"), one.get("shape")
    if not isinstance(datatype, str) or datatype not in (*_NUMPY, BYTES):
        _reject(where, "its datatype is none of the protocol's")
    if not isinstance(shape, list) or len(shape) > _DIMENSIONS or not all(type(size) is int and size >= 0 for size in shape):
        _reject(where, f"its shape is no list of at most {_DIMENSIONS} sizes")
    parameters = one.get("parameters") or {}
    if not isinstance(parameters, dict):
        _reject(where, "its parameters are no object")
    if "binary_data_size" not in parameters:
        encoded = encoded or parameters.get("content_type") == "base64"  # MLServer's word
        return _from_json(one.get("data"), datatype, shape, where, encoded=encoded), binary
    size = parameters["binary_data_size"]
    if type(size) is not int or not 0 <= size <= len(binary):
        _reject(where, "its binary_data_size is more than there is")
    if "data" in one:
        _reject(where, "has both data and binary_data_size")
    return _from_bytes(binary[:size], datatype, shape, where), binary[size:]


def _from_json(data: object, datatype: str, shape: list[int], where: str, *, encoded: bool) -> NDArray[Any]:
    if not isinstance(data, list):
        _reject(where, "has no data")
    if datatype == BYTES:
        texts = list(_texts(data, where))
        elements = [_decoded(text, where) if encoded else text.encode("utf-8", "replace") for text in texts]
        return _shaped(as_bytes("", *elements).values, shape, where)
    if not _kinds(data) <= {bool, int, float}:  # before an array is made: of texts it would be as wide as the longest
        _reject(where, f"its data are no {datatype} numbers")
    try:
        given = np.array(data)
    except (ValueError, OverflowError):
        _reject(where, "its data are no array")
    dtype = np.dtype(_NUMPY[datatype])
    if given.size and given.dtype.kind not in _IN_JSON[dtype.kind]:
        _reject(where, f"its data are no {datatype} numbers")
    if dtype.kind in "iu" and given.size:
        limits = np.iinfo(dtype)
        if int(given.min()) < limits.min or int(given.max()) > limits.max:
            _reject(where, f"a number is beyond {datatype}")
    if given.ndim != 1 and given.shape != tuple(shape):
        _reject(where, "its data have another shape than it says")
    with np.errstate(over="ignore"):  # to infinity, which is looked for where numbers must be finite
        return _shaped(given.astype(dtype), shape, where)


def _kinds(data: list[Any], depth: int = _DIMENSIONS) -> set[type]:
    """Of the values, lists inside lists looked into."""
    kinds = set(map(type, data))
    if list in kinds and depth:
        kinds.discard(list)
        for one in data:
            if type(one) is list:
                kinds |= _kinds(one, depth - 1)
    return kinds


def _from_bytes(content: memoryview, datatype: str, shape: list[int], where: str) -> NDArray[Any]:
    if datatype == BYTES:
        most = math.prod(shape)  # before as many objects are made as there are bytes
        elements = list(islice(_elements(content, where), most + 1))
        if len(elements) > most:
            _reject(where, "has more elements than its shape says")
        return _shaped(as_bytes("", *elements).values, shape, where)
    dtype = np.dtype(_NUMPY[datatype])
    if len(content) != math.prod(shape) * dtype.itemsize:
        _reject(where, "its binary_data_size does not fit its shape")
    if datatype == "BOOL" and len(content) and np.frombuffer(content, np.uint8).max() > 1:
        _reject(where, "its data are no BOOL")
    return np.frombuffer(content, dtype).reshape(shape)


def _elements(content: memoryview, where: str) -> Iterator[bytes]:
    """Extension: each element behind its length, 4 bytes."""
    while len(content):
        length = int.from_bytes(content[:4], "little")
        if len(content) < 4 + length:
            _reject(where, "an element is longer than there is")
        yield bytes(content[4 : 4 + length])
        content = content[4 + length :]


def _packed(tensor: Tensor) -> bytes:
    if tensor.datatype == BYTES:
        return b"".join(len(one).to_bytes(4, "little") + one for one in tensor.values.ravel())
    return np.ascontiguousarray(tensor.values, _NUMPY[tensor.datatype]).tobytes()


def _texts(data: list[Any], where: str, depth: int = _DIMENSIONS) -> Iterator[str]:
    for one in data:
        if isinstance(one, list) and depth:
            yield from _texts(one, where, depth - 1)
        elif isinstance(one, str):
            yield one
        else:
            _reject(where, "its data are no strings")


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        _reject(where, "is no base64 (as JSON has no bytes)")


def _shaped(flat: NDArray[Any], shape: list[int], where: str) -> NDArray[Any]:
    if flat.size != math.prod(shape):
        _reject(where, "has not as many elements as its shape says")
    return flat.reshape(shape)


def _no_number(constant: str) -> NoReturn:
    """NaN and Infinity are no JSON (RFC 8259, 6)."""
    raise ValueError


def _reject(where: str, why: str) -> NoReturn:
    raise MalformedMessage("inference", where, why)

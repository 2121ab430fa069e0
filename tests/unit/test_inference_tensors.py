"""Tensors in bodies: there and back, as JSON and as bytes; and everything that a peer can get wrong about them."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from connectors.inference_tensors import Tensor, as_bytes, described, joined, read, split
from schemas.errors import MalformedMessage

NAME = "Mustermann"


def _there_and_back(tensors: Sequence[Tensor], binary: Sequence[bool]) -> dict[str, Tensor]:
    said, behind = [], []
    for tensor, as_binary in zip(tensors, binary, strict=True):
        one, content = described(tensor, binary=as_binary)
        said.append(one)
        behind += content
    body, length = joined({"inputs": said}, behind)
    assert (length is None) == (not any(binary))
    envelope, rest = split(body, length)
    return read(envelope["inputs"], rest, "input", [tensor.name for tensor in tensors])


_NUMBERS = of_numpy.arrays(
    dtype=st.sampled_from(["?", "<u1", "<u2", "<u4", "<u8", "<i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"]).map(np.dtype),
    shape=of_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    elements={"allow_nan": False, "allow_infinity": False},
)
_TEXTS = st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])).map(str.encode), max_size=5)


@given(st.lists(st.tuples(st.one_of(_NUMBERS, _TEXTS), st.booleans()), min_size=1, max_size=4))
def test_there_and_back(drawn: list[tuple[Any, bool]]) -> None:
    tensors = [
        as_bytes(f"t{n}", *values) if isinstance(values, list) else Tensor(f"t{n}", values) for n, (values, _) in enumerate(drawn)
    ]
    back = _there_and_back(tensors, [binary for _, binary in drawn])
    for tensor in tensors:
        assert back[tensor.name].datatype == tensor.datatype
        np.testing.assert_array_equal(back[tensor.name].values, tensor.values, strict=True)


def test_bytes_that_are_no_text() -> None:
    """Behind the JSON as they are; in it as base64, where the model says so or MLServer's content type."""
    tensor = as_bytes("dicom", b"\xff\x00DICM")
    np.testing.assert_array_equal(_there_and_back([tensor], [True])["dicom"].values, tensor.values)
    data = [base64.b64encode(b"\xff\x00DICM").decode()]
    one = {"name": "dicom", "shape": [1], "datatype": "BYTES", "data": data}
    assert read([one], memoryview(b""), "input", ["dicom"], ["dicom"])["dicom"].values[0] == b"\xff\x00DICM"
    one["parameters"] = {"content_type": "base64"}
    assert read([one], memoryview(b""), "input", ["dicom"])["dicom"].values[0] == b"\xff\x00DICM"


@pytest.mark.parametrize("data", [[[1, 2, 3], [4, 5, 6]], [1, 2, 3, 4, 5, 6]])
def test_natural_or_flattened(data: list[Any]) -> None:
    one = {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": data}
    [values] = [tensor.values for tensor in read([one], memoryview(b""), "input", ["x"]).values()]
    np.testing.assert_array_equal(values, np.arange(1, 7, dtype=np.float32).reshape(2, 3), strict=True)


def _x(**said: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [2], "datatype": "UINT8", "data": [1, 2]} | said


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([_x(name=NAME)], "input 0: is none of x"),
        ([_x(name=[NAME])], "input 0: is none of x"),
        ([_x(), _x()], "input x: comes twice"),
        ([_x(datatype=NAME)], "input x: its datatype is none"),
        ([_x(datatype=None)], "input x: its datatype is none"),
        ([_x(shape=[3])], "input x: has not as many elements"),
        ([_x(shape=[2, 1], data=[[1, 2]])], "input x: its data have another shape"),
        ([_x(shape=[-2])], "input x: its shape is no list"),
        ([_x(shape=[True, 2])], "input x: its shape is no list"),
        ([_x(shape=[1] * 9)], "input x: its shape is no list"),
        ([_x(shape=NAME)], "input x: its shape is no list"),
        ([_x(data=None)], "input x: has no data"),
        ([_x(data=NAME)], "input x: has no data"),
        ([_x(data=[1, NAME])], "input x: its data are no UINT8"),
        ([_x(data=[1, None])], "input x: its data are no UINT8"),
        ([_x(data=[1, 2.5])], "input x: its data are no UINT8"),
        ([_x(data=[True, False])], "input x: its data are no UINT8"),
        ([_x(data=[[1], [2, 3]])], "input x: its data are no array"),
        ([_x(data=[1, 256])], "input x: a number is beyond UINT8"),
        ([_x(data=[-1, 2])], "input x: a number is beyond UINT8"),
        ([_x(data=[1, 10**30])], "input x: its data are no UINT8"),
        ([_x(datatype="BOOL", data=[0, 1])], "input x: its data are no BOOL"),
        ([_x(datatype="BYTES", data=[1, 2])], "input x: its data are no strings"),
        ([_x(datatype="BYTES", data=[NAME, NAME], parameters={"content_type": "base64"})], "input x: is no base64"),
        ([_x(parameters=[NAME])], "input x: its parameters are no object"),
        ([_x(parameters={"binary_data_size": 2})], "input x: its binary_data_size is more"),
        ([_x(parameters={"binary_data_size": -1})], "input x: its binary_data_size is more"),
        ([_x(parameters={"binary_data_size": 0})], "input x: has both"),
        (NAME, "inputs: is no list"),
        ([NAME], "inputs: is no list"),
        (None, "inputs: is no list"),
    ],
)
def test_what_is_wrong_in_json_is_named_and_not_repeated(said: Any, why: str) -> None:
    with pytest.raises(MalformedMessage, match=why) as caught:
        read(said, memoryview(b""), "input", ["x"])
    assert NAME not in str(caught.value)


def test_no_text_widens_an_array() -> None:
    """One long text would make every element as long: here 800 MB of a body of 30 KB."""
    one = _x(shape=[20_001], datatype="FP32", data=["a" * 10_000, *["b"] * 20_000])
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage, match="are no FP32"):
            read([one], memoryview(b""), "input", ["x"])
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("datatype", "shape", "content", "why"),
    [
        ("FP32", [2], b"1234", "does not fit its shape"),
        ("FP32", [2**40, 2**40], b"1234", "does not fit its shape"),
        ("BOOL", [2], b"\x01\x02", "are no BOOL"),
        ("BYTES", [1], b"\x05\0\0\0abc", "longer than there is"),
        ("BYTES", [1], b"\x05\0", "longer than there is"),
        ("BYTES", [2], b"\x01\0\0\0a", "not as many elements"),
        ("BYTES", [1], b"\0\0\0\0" * 1_000_000, "more elements than its shape says"),
    ],
)
def test_bytes_that_lie(datatype: str, shape: list[int], content: bytes, why: str) -> None:
    one = {"name": "x", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(content)}}
    with pytest.raises(MalformedMessage, match=why):
        read([one], memoryview(content), "input", ["x"])


def test_more_bytes_than_the_tensors_say() -> None:
    with pytest.raises(MalformedMessage, match="more bytes"):
        read([_x()], memoryview(b"1"), "input", ["x"])


def test_others_are_left_out_with_their_bytes() -> None:
    first = {"name": NAME, "shape": [1], "datatype": "UINT8", "parameters": {"binary_data_size": 1}}
    second = {"name": "x", "shape": [1], "datatype": "UINT8", "parameters": {"binary_data_size": 1}}
    tensors = read([first, second], memoryview(b"\x01\x02"), "output", ["x"], others=True)
    assert {name: tensor.values.tolist() for name, tensor in tensors.items()} == {"x": [2]}


@pytest.mark.parametrize(
    ("body", "length", "why"),
    [
        (b"", None, "no JSON"),
        (NAME.encode(), None, "no JSON"),
        (b"\xff{}", None, "no JSON"),
        (b'{"a": NaN}', None, "no JSON"),
        (b"[" * 100_000, None, "no JSON"),
        (b"[1]", None, "no object"),
        (b"{}", "3", "more than there is"),
        (b"{}", "-1", "no number of bytes"),
        (b"{}", "9" * 30, "no number of bytes"),
        (b"{}", "²", "no number of bytes"),
        (b"{}", "0", "no JSON"),
        (b'{"a": [0' + b",0" * (16 * 1024 * 1024 + 1) + b"]}", None, "send tensors as binary data"),
    ],
)
def test_bodies_that_are_none(body: bytes, length: str | None, why: str) -> None:
    with pytest.raises(MalformedMessage, match=why) as caught:
        split(body, length)
    assert NAME not in str(caught.value)


def test_what_is_no_number_is_never_sent() -> None:
    said, _ = described(Tensor("x", np.array([np.nan])), binary=False)
    with pytest.raises(ValueError, match="JSON"):
        joined({"outputs": [said]}, [])


def test_a_number_too_large_for_its_datatype_is_no_number() -> None:
    one = {"name": "x", "shape": [1], "datatype": "FP32", "data": json.loads("[1e300]")}
    assert np.isinf(read([one], memoryview(b""), "input", ["x"])["x"].values).all()

"""The inference server over real sockets: the protocol's requests and answers, and who is refused with which words."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from structlog.testing import capture_logs

from connectors.inference_server import InferenceServer
from schemas.errors import (
    AccessRefused,
    ArchiveUnavailable,
    InvalidResource,
    ItemNotServed,
    ModelFailed,
    ModelUnavailable,
    SettingsInvalid,
)
from tests.unit.certificates import Authority
from tests.unit.inference_caller import DEADLINE_S, LIMIT, NAME, Doubling, canvas, serving

INFER = "/v2/models/double/infer"


async def test_metadata_and_health() -> None:
    model = Doubling()
    async with serving(model.served(), model.served(version="2"), Doubling().served("other")) as caller:
        assert (await caller.ask("GET", "/v2/health/live")).json() == {"live": True}
        assert (await caller.ask("GET", "/v2/health/ready")).json() == {"live": True, "ready": True}
        about = (await caller.ask("GET", "/v2")).json()
        assert about == {"name": "radstream", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
        for path in ("/v2/models/double", "/v2/models/double/versions/2"):
            assert (await caller.ask("GET", path)).json() == {
                "name": "double",
                "versions": ["1", "2"],
                "platform": "radstream",
                "inputs": [
                    {"name": "canvas", "datatype": "FP32", "shape": [-1, 2]},
                    {"name": "file", "datatype": "BYTES", "shape": [1]},
                ],
                "outputs": [
                    {"name": "twice", "datatype": "FP32", "shape": [-1, 2]},
                    {"name": "words", "datatype": "BYTES", "shape": [1]},
                ],
            }
            assert (await caller.ask("GET", f"{path}/ready")).json() == {"name": "double", "ready": True}


async def test_an_answer_names_model_version_and_id() -> None:
    model = Doubling()
    async with serving(model.served(said={"note": "for show"}), model.served(version="2", said={})) as caller:
        answer = await caller.infer(canvas(id="42", parameters={"Modality": "DX"}))
        assert answer.headers["Content-Type"].startswith("application/json")
        assert answer.json() == {
            "model_name": "double",
            "model_version": "1",
            "id": "42",
            "parameters": {"note": "for show"},
            "outputs": [
                {"name": "twice", "shape": [1, 2], "datatype": "FP32", "data": [2.0, 4.0]},
                {"name": "words", "shape": [1], "datatype": "BYTES", "data": ["schön"]},
            ],
        }
        assert model.asked == [({"canvas": [[1.0, 2.0]]}, {"Modality": "DX"})]
        second = (await caller.infer(canvas(), "/v2/models/double/versions/2/infer")).json()
        assert (second["model_version"], "id" in second, "parameters" in second) == ("2", False, False)


async def test_outputs_that_are_wanted_and_how() -> None:
    async with serving(Doubling().served()) as caller:
        only = (await caller.infer(canvas(outputs=[{"name": "words"}]))).json()
        assert [one["name"] for one in only["outputs"]] == ["words"]
        asked = canvas(
            outputs=[{"name": "words", "parameters": {"binary_data": False}}, {"name": "twice"}],
            parameters={"binary_data_output": True},
        )
        answer = await caller.infer(asked)
        length = int(answer.headers["Inference-Header-Content-Length"])
        assert answer.headers["Content-Type"] == "application/octet-stream"
        told = json.loads(answer.content[:length])["outputs"]
        assert [(one["name"], one.get("parameters"), one.get("data")) for one in told] == [
            ("words", None, ["schön"]),
            ("twice", {"binary_data_size": 8}, None),
        ]
        assert answer.content[length:].hex() == "0000004000008040"


async def test_bytes_in_json_behind_it_and_as_the_whole_body() -> None:
    model = Doubling()
    file = b"\0DICM\xff"
    async with serving(model.served(whole_body="file")) as caller:
        one: dict[str, Any] = {"name": "file", "shape": [1], "datatype": "BYTES"}
        assert (await caller.infer({"inputs": [{**one, "data": [base64.b64encode(file).decode()]}]})).ok
        head = json.dumps({"inputs": [{**one, "parameters": {"binary_data_size": len(file) + 4}}]}).encode()
        content = head + len(file).to_bytes(4, "little") + file
        assert (await caller.ask("POST", INFER, data=content, headers={"Inference-Header-Content-Length": str(len(head))})).ok
        assert (await caller.ask("POST", INFER, data=file, headers={"Inference-Header-Content-Length": "0"})).ok
    assert [asked for asked, _ in model.asked] == [{"file": [file]}] * 3


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (canvas(shape=[2, 1], data=[1, 2]), "input canvas: has not the shape [-1, 2]"),
        (canvas(shape=[2], data=[1, 2]), "input canvas: has not the shape [-1, 2]"),
        (canvas([1, NAME]), "input canvas: its data are no FP32"),
        ({"inputs": [{"name": "canvas", "shape": [1], "datatype": "BYTES", "data": [NAME]}]}, "input canvas: is no FP32 or FP64"),
        ({"inputs": [{"name": NAME, "shape": [1], "datatype": "BYTES", "data": [NAME]}]}, "input 0: is none of canvas, file"),
        ({"inputs": [{"name": "file", "shape": [1], "datatype": "BYTES", "data": [NAME]}]}, "input file: is no base64"),
        ({}, "inputs: is no list"),
        (canvas(id=NAME * 20), "id: is no text of at most 256"),
        (canvas(id=42), "id: is no text"),
        (canvas(outputs=[{"name": NAME}]), "output 0: is none of twice, words"),
        (canvas(outputs=[NAME]), "output 0: is none of twice, words"),
        (canvas(outputs={NAME: 1}), "outputs: is no list"),
        (canvas(outputs=[{"name": "twice", "parameters": [NAME]}]), "output twice: is no object"),
        (canvas(parameters={NAME: [NAME]}), "parameters: is no object"),
        ([NAME], "body: its JSON is no object"),
    ],
)
async def test_what_is_wrong_is_named_and_not_repeated(body: Any, why: str) -> None:
    model = Doubling()
    with capture_logs() as logs:
        async with serving(model.served()) as caller:
            answer = await caller.infer(body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert answer.json()["error"].startswith(why)
    assert "Mustermann" not in answer.text + json.dumps(logs)
    assert [(line["event"], line["status"]) for line in logs] == [("a request is refused", 400)]
    assert model.asked == []


async def test_unknown_models_versions_addresses_and_methods(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(Doubling().served()) as caller:
        for path in (f"/v2/models/{NAME}", "/v2/models/double/versions/9", f"/{NAME}", "/v2/models//infer"):
            answer = await caller.ask("GET", path)
            assert (answer.status_code, list(answer.json())) == (404, ["error"])
            assert "Mustermann" not in answer.text
        assert (await caller.infer(canvas(), "/v2/models/double/versions/9/infer")).status_code == 404
        wrong = await caller.ask("GET", INFER)
        assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")
        assert (await caller.infer(canvas(), headers={"Content-Encoding": "gzip"})).status_code == 415
    assert [record.name for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_a_body_that_is_too_large() -> None:
    async with serving(Doubling().served()) as caller:
        assert (await caller.ask("POST", INFER, data=b"x" * (LIMIT + 1))).status_code == 413
        assert (await caller.ask("POST", INFER, data=iter([b"x" * LIMIT, b"xx"]))).status_code == 413
        assert (await caller.infer(canvas())).ok


async def test_a_body_that_is_slow_or_breaks_off() -> None:
    async with serving(Doubling().served(), body_s=0.3, requests=1) as caller:
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", caller.port)
        writer.write(head)
        async with asyncio.timeout(DEADLINE_S):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        with closing(socket.create_connection(("127.0.0.1", caller.port))) as own:
            own.sendall(head)
        async with asyncio.timeout(DEADLINE_S):
            while not (await caller.infer(canvas())).ok:  # until its place is free again
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (InvalidResource("decode", "input dicom", "cannot be read"), 400, "input dicom: cannot be read"),
        (ModelUnavailable("x", "y", "z"), 503, "ModelUnavailable: ask again later"),
        (ArchiveUnavailable("x", "y", "z"), 503, "ArchiveUnavailable: ask again later"),
        (ItemNotServed("x", "y", "z"), 503, "ItemNotServed: ask again later"),
        (AccessRefused("x", "y", "z"), 502, "AccessRefused: whoever looks after this server"),
        (ModelFailed("x", "y", "z"), 500, "ModelFailed: whoever looks after this server"),
        (MemoryError(), 413, "too much for the memory here"),
        (ValueError(NAME), 500, "a fault of this server"),
    ],
)
async def test_errors_of_the_model(error: BaseException, status: int, words: str) -> None:
    model = Doubling()
    with capture_logs() as logs:
        async with serving(model.served()) as caller:
            model.error = error
            answer = await caller.infer(canvas())
            assert (answer.status_code, answer.headers.get("Retry-After")) == (status, "1" if status == 503 else None)
            assert answer.json()["error"].startswith(words)
            model.error = None
            assert (await caller.infer(canvas())).ok
    assert len(logs) == 1
    assert "Mustermann" not in answer.text + json.dumps(logs)


async def test_an_answer_that_is_no_number_is_none() -> None:
    async with serving(Doubling().served()) as caller:
        answer = await caller.infer(canvas([3e38, 1]))
        assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (500, "ModelFailed")


async def test_a_server_is_ready_when_all_its_models_are() -> None:
    model = Doubling()
    model.ready = False
    async with serving(model.served(), Doubling().served("other")) as caller:
        for path in ("/v2/health/ready", "/v2/models/double/ready", "/v2/models/double/versions/1/ready"):
            answer = await caller.ask("GET", path)
            assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert (await caller.ask("GET", "/v2/models/other/ready")).json() == {"name": "other", "ready": True}
        assert (await caller.ask("GET", "/v2/health/live")).ok
        model.ready = True
        assert (await caller.ask("GET", "/v2/health/ready")).ok


async def test_more_requests_than_there_is_room_for() -> None:
    model = Doubling()
    async with serving(model.served(), requests=1) as caller:
        model.hold.clear()
        first = asyncio.create_task(caller.infer(canvas()))
        await model.busy.wait()
        second = await caller.infer(canvas())
        assert (second.status_code, second.headers["Retry-After"]) == (503, "1")
        model.hold.set()
        assert (await first).ok
        assert (await caller.infer(canvas())).ok


async def test_a_caller_that_goes_away_cancels_its_work() -> None:
    model = Doubling()
    async with serving(model.served(), requests=1) as caller:
        model.hold.clear()
        with closing(socket.create_connection(("127.0.0.1", caller.port))) as own:
            body = json.dumps(canvas()).encode()
            own.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await model.busy.wait()
        async with asyncio.timeout(DEADLINE_S):
            await model.cancelled.wait()
        model.hold.set()
        assert (await caller.infer(canvas())).ok, "its place is free again"


async def test_what_is_in_flight_at_the_end_is_answered() -> None:
    model = Doubling()
    async with serving(model.served()) as caller:
        model.hold.clear()
        asking = asyncio.create_task(caller.infer(canvas()))
        await model.busy.wait()
        asyncio.get_running_loop().call_later(0.3, model.hold.set)
    assert (await asking).ok
    with pytest.raises(requests.ConnectionError):
        await caller.infer(canvas())


async def test_the_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    model = Doubling()
    async with serving(model.served(), token_file=token) as caller:
        for headers in ({}, {"Authorization": "Bearer second"}, {"Authorization": "Basic first"}):
            for answer in (await caller.infer(canvas(), headers=headers), await caller.ask("GET", "/v2", headers=headers)):
                assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="radstream"')
        assert (await caller.infer(canvas(), headers={"Authorization": "Bearer first"})).ok
        assert (await caller.ask("GET", "/v2/health/ready")).ok, "as kubelet asks"
        token.write_text("second\n")
        assert (await caller.infer(canvas(), headers={"Authorization": "Bearer first"})).status_code == 401
        assert (await caller.infer(canvas(), headers={"Authorization": "Bearer second"})).ok
        token.unlink()
        assert (await caller.infer(canvas(), headers={"Authorization": "Bearer second"})).status_code == 503
    assert len(model.asked) == 2
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        async with serving(model.served(), token_file=token):
            pass


async def test_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "hospital")
    pair = authority.sign("serving")
    async with serving(Doubling().served(), ca=authority.certificate, certificate=pair.certificate, key=pair.key) as caller:
        assert (await caller.infer(canvas())).ok
        with pytest.raises(requests.ConnectionError):
            await asyncio.to_thread(requests.get, f"http://127.0.0.1:{caller.port}/v2", timeout=DEADLINE_S)


@pytest.mark.parametrize(
    "sent", [f"GET /{NAME} HTTP/9.9\r\n\r\n", f"{NAME} HTTP/1.1\r\n\r\n", f"POST / HTTP/1.1\r\n{NAME}\r\n\r\n"]
)
async def test_what_is_no_http_comes_back_in_no_word(sent: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(Doubling().served()) as caller:
        reader, writer = await asyncio.open_connection("127.0.0.1", caller.port)
        writer.write(sent.encode())
        async with asyncio.timeout(DEADLINE_S):
            heard = await reader.read()
        writer.close()
    assert heard.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), heard
    assert b"Mustermann" not in heard
    assert "Mustermann" not in caplog.text


async def test_a_taken_address_is_told() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        server = InferenceServer([], version="", port=taken.getsockname()[1], size_limit=1)
        with pytest.raises(SettingsInvalid, match="the address cannot be bound"):
            await server.listen(asyncio.Event(), lambda: None)

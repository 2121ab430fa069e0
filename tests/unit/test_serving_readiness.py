"""A server of the site that is away is told by whoever serves its model, at once and to whoever asks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from connectors.inference import V2Network
from connectors.inference_served import Ready, Served, always_ready
from schemas.errors import ModelUnavailable
from streams.serving.readiness import Readiness
from streams.serving.served import network_of
from tests.unit.http_peer import Handler, http_peer
from tests.unit.inference_caller import DEADLINE_S, Caller, Doubling, serving

READY = ("/v2/models/chest.network/ready", "/v2/models/chest.network/versions/7/ready", "/v2/health/ready")


class _Half:
    def __call__(self, canvases: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return {"heatmap": canvases / 2}

    def close(self) -> None: ...


class _Server:
    """A server of the site, as its client sees it: `away` is why it cannot be asked; `asked` counts; while `gate` is closed it says
    nothing."""

    def __init__(self, away: str = "") -> None:
        self.away = away
        self.asked = self.closed = 0
        self.begun, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def check_ready(self, within_s: float) -> None:
        assert 0 < within_s <= 1, "a health check of Kubernetes waits for 1 s"
        self.asked += 1
        self.begun.set()
        assert self.gate.wait(DEADLINE_S)
        if self.away:
            raise ModelUnavailable("inference", "chest/3", self.away)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


async def _statuses(caller: Caller) -> set[int]:
    return {(await caller.ask("GET", path)).status_code for path in READY}


async def test_what_is_loaded_here_is_always_ready(thread: ThreadPoolExecutor) -> None:
    async with serving(await network_of("chest", "7", _Half(), (1, 8, 8), thread, always_ready)) as caller:
        assert await _statuses(caller) == {200}


async def test_a_server_that_goes_away_and_comes_back(thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked over real sockets: another inference server, whose model is not ready, is gone, and is there again."""
    monkeypatch.setattr("streams.serving.readiness._ASK_S", DEADLINE_S)  # a busy machine is not away
    monkeypatch.setattr("streams.serving.readiness._WAIT_S", DEADLINE_S)
    model = Doubling()
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(AsyncExitStack())
        there = await site.enter_async_context(serving(model.served("chest", "3")))
        network = V2Network(there.url, model_name="chest", model_version="3", input_name="canvas", output_names=["twice"])
        logs = stack.enter_context(capture_logs())
        caller = await stack.enter_async_context(serving(await _served(Readiness("chest/7", network, thread))))
        assert await _statuses(caller) == {200}
        model.ready = False
        assert await _statuses(caller) == {503}
        model.ready = True
        assert await _statuses(caller) == {200}
        await site.aclose()
        assert await _statuses(caller) == {503}
        await stack.enter_async_context(serving(model.served("chest", "3"), port=there.port))
        assert await _statuses(caller) == {200}
    told = [(line["log_level"], str(line.get("error", "")).rpartition(": ")[2]) for line in logs if line.get("model") == "chest/7"]
    away, gone = "the model is not ready there (yet)", "no connection (ConnectionError)"
    assert told == [("warning", away), ("info", ""), ("warning", gone), ("info", "")], "each once, however often it was asked"


async def test_many_who_ask_are_one_question_and_the_server_goes_on_meanwhile(
    thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.serving.readiness._WAIT_S", DEADLINE_S)
    server = _Server()
    server.gate.clear()
    ready = Readiness("chest/7", server, thread)
    async with serving(await _served(ready)) as caller:
        asked = [asyncio.create_task(ready()) for _ in range(20)]
        over_http = asyncio.create_task(caller.ask("GET", READY[0]))
        assert await asyncio.to_thread(server.begun.wait, DEADLINE_S)
        assert (await caller.ask("GET", "/v2/health/live")).ok
        assert server.asked == 1
        server.gate.set()
        assert await asyncio.gather(*asked) == [True] * 20
        assert (await over_http).ok
    assert server.closed == server.asked, "no connection is kept"


async def _served(ready: Ready) -> Served:
    with ThreadPoolExecutor(1) as once:
        return await network_of("chest", "7", _Half(), (1, 8, 8), once, ready)


async def test_what_cannot_be_cut_is_not_waited_for(thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is looked up for minutes: each caller is answered, and there is one question."""
    monkeypatch.setattr("streams.serving.readiness._WAIT_S", 0.05)
    server = _Server()
    ready = Readiness("chest/7", server, thread)
    server.gate.clear()
    with capture_logs() as logs:
        assert [await ready() for _ in range(3)] == [False] * 3
    assert [line["error"] for line in logs] == ["no answer within 0.05 s"]
    server.gate.set()
    monkeypatch.undo()
    assert await ready()
    assert server.asked <= 2


async def test_whoever_goes_away_takes_nothing_from_the_others(thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.serving.readiness._WAIT_S", DEADLINE_S)
    server = _Server()
    server.gate.clear()
    ready = Readiness("chest/7", server, thread)
    first, second = asyncio.create_task(ready()), asyncio.create_task(ready())
    assert await asyncio.to_thread(server.begun.wait, DEADLINE_S)
    first.cancel()
    await asyncio.wait([first])
    server.gate.set()
    assert await second
    assert (first.cancelled(), server.asked) == (True, 1)


async def test_a_server_that_hangs(thread: ThreadPoolExecutor) -> None:
    def hang(handler: Handler) -> None:
        handler.release.wait()

    with http_peer(hang) as url:
        network = partial(V2Network, url, model_name="chest", model_version="3", input_name="canvas", output_names=["twice"])
        async with asyncio.timeout(10):
            assert not await Readiness("chest/7", network(timeout_s=60), thread)()

"""A file that kills, hangs or swells its decoding process costs that process only."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import pytest

from connectors import decoding_worker
from connectors.decoding import ProcessDecoder
from connectors.decoding_process import DecodingProcess
from schemas.errors import InvalidResource, ItemNotServed, RadstreamError, Unsuitable
from schemas.findings import NotAnalysedReason
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Radiograph
from tests.contract.example_images import RAMP, part10, radiograph, uid_of

IMAGE = radiograph()
GOOD = part10(IMAGE)
UID = uid_of(IMAGE)


def _misbehave(part10: bytes, expected: SOPInstanceUID, pixel_limit: int) -> Radiograph:
    """Runs in the worker: does what the file's first word says, or decodes it."""
    match part10[:200].split(b" "):
        case b"exit", *_:
            os._exit(3)
        case b"segfault", *_:
            os.kill(os.getpid(), signal.SIGSEGV)
        case b"hang", *started:
            for flag in started:
                Path(os.fsdecode(flag)).touch()
            while True:
                pass
        case b"swell", *_:
            np.ones(1024**3, dtype=np.float64)
        case b"die-once", flag:
            if not Path(os.fsdecode(flag)).exists():
                Path(os.fsdecode(flag)).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            raise Unsuitable("decode", "instance", "alive", NotAnalysedReason.WRONG_VIEW)
        case b"die-then-hang", first, second:
            if Path(os.fsdecode(first)).exists():
                Path(os.fsdecode(second)).touch()
                signal.pause()
            Path(os.fsdecode(first)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case b"pid", *_:
            raise InvalidResource("decode", "instance", str(os.getpid()))
        case b"unsuitable", *_:
            raise Unsuitable("decode", "instance", "why", NotAnalysedReason.WRONG_VIEW)
        case b"modules", *_:
            raise InvalidResource("decode", "instance", " ".join(sorted(sys.modules)))
    return decoding_worker.decode(part10, expected, pixel_limit)


@pytest.fixture(scope="module")
def decoder() -> Iterator[ProcessDecoder]:
    decoder = ProcessDecoder(workers=1, timeout_s=3, memory_limit_bytes=2 * 1024**3, pixel_limit=1_000_000, function=_misbehave)
    yield decoder
    decoder.close()


@pytest.mark.parametrize("word", [b"exit", b"segfault", b"hang", b"swell"])
async def test_it_costs_that_file_only(decoder: ProcessDecoder, word: bytes) -> None:
    answers = await asyncio.gather(*(decoder.decode(file, UID) for file in (GOOD, word, GOOD)), return_exceptions=True)
    assert isinstance(answers[1], InvalidResource)
    for answer in (answers[0], answers[2]):
        assert isinstance(answer, Radiograph)
        np.testing.assert_array_equal(answer.pixels, RAMP)


async def test_a_process_killed_from_outside_is_no_fault_of_the_file(decoder: ProcessDecoder, tmp_path: Path) -> None:
    with pytest.raises(Unsuitable, match="alive"):
        await decoder.decode(b"die-once " + os.fsencode(tmp_path / "died"), UID)


@pytest.mark.parametrize("gone", [False, True])
async def test_an_idle_process_that_is_killed_costs_nothing(decoder: ProcessDecoder, gone: bool) -> None:
    for _ in range(2):
        with pytest.raises(InvalidResource) as caught:
            await decoder.decode(b"pid", UID)
        pid = int(caught.value.reason)
        os.kill(pid, signal.SIGKILL)
        if gone:
            await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        np.testing.assert_array_equal((await decoder.decode(GOOD, UID)).pixels, RAMP)


async def test_processes_killed_at_any_moment_hold_nothing_up() -> None:
    """Whatever a process holds when it is killed (by the system, short of memory), the next file finds one that works."""
    before = set(multiprocessing.active_children())
    decoder = ProcessDecoder(workers=2, timeout_s=10, memory_limit_bytes=2 * 1024**3, pixel_limit=1_000_000)
    chance = random.Random(8)
    try:
        for _ in range(10):
            calls = [asyncio.create_task(decoder.decode(GOOD, UID)) for _ in range(4)]
            await asyncio.sleep(chance.uniform(0, 0.004))  # the moment is what is varied
            for process in set(multiprocessing.active_children()) - before:
                process.kill()
            async with asyncio.timeout(20):
                await asyncio.gather(*calls, return_exceptions=True)  # an image whose processes were killed twice may be refused
                np.testing.assert_array_equal((await decoder.decode(GOOD, UID)).pixels, RAMP)
    finally:
        decoder.close()


async def test_closing_it_blames_no_file(tmp_path: Path) -> None:
    started = tmp_path / "started"
    decoder = ProcessDecoder(workers=1, timeout_s=60, memory_limit_bytes=2 * 1024**3, pixel_limit=1_000_000, function=_misbehave)
    hanging = asyncio.create_task(decoder.decode(b"hang " + os.fsencode(started), UID))
    async with asyncio.timeout(60):
        while not started.exists():
            await asyncio.sleep(0.05)
    waiting = asyncio.create_task(decoder.decode(GOOD, UID))
    await asyncio.sleep(0.05)  # it may be anywhere before its turn
    decoder.close()
    answers = await asyncio.gather(hanging, waiting, decoder.decode(GOOD, UID), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ItemNotServed] * 3


async def test_closing_it_while_a_file_has_its_second_process_blames_no_file(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    decoder = ProcessDecoder(workers=1, timeout_s=60, memory_limit_bytes=2 * 1024**3, pixel_limit=1_000_000, function=_misbehave)
    file = b"die-then-hang " + os.fsencode(first) + b" " + os.fsencode(second)
    call = asyncio.create_task(decoder.decode(file, UID))
    async with asyncio.timeout(60):
        while not second.exists():
            await asyncio.sleep(0.05)
    decoder.close()
    with pytest.raises(ItemNotServed):
        await call


async def test_a_file_that_hangs_ends_also_when_nobody_is_left_who_could_end_it() -> None:
    """Whoever asked was killed (-9)."""
    process = DecodingProcess(2 * 1024**3)
    assert process.ask(60, int) == 0  # it has begun
    process._pipe.send((0.2, _misbehave, (b"hang", UID, 1)))
    assert await asyncio.to_thread(wait, [process._process.sentinel], 30)
    process.end()
    assert process._process.exitcode == -signal.SIGALRM


async def test_a_process_that_cannot_begin_is_no_fault_of_the_file() -> None:
    decoder = ProcessDecoder(workers=1, timeout_s=60, memory_limit_bytes=2**80, pixel_limit=1_000_000)  # no such limit
    try:
        with pytest.raises(ItemNotServed):
            await decoder.decode(GOOD, UID)
    finally:
        decoder.close()


async def test_errors_cross_the_border_whole(decoder: ProcessDecoder) -> None:
    with pytest.raises(Unsuitable) as caught:
        await decoder.decode(b"unsuitable", UID)
    assert caught.value.code is NotAnalysedReason.WRONG_VIEW
    assert isinstance(caught.value, RadstreamError)


async def test_a_cancelled_call_frees_its_worker(decoder: ProcessDecoder, tmp_path: Path) -> None:
    started = tmp_path / "started"
    hanging = asyncio.create_task(decoder.decode(b"hang " + os.fsencode(started), UID))
    async with asyncio.timeout(60):
        while not started.exists() and not hanging.done():
            await asyncio.sleep(0.05)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    np.testing.assert_array_equal((await decoder.decode(GOOD, UID)).pixels, RAMP)


async def test_workers_never_import_torch(decoder: ProcessDecoder) -> None:
    with pytest.raises(InvalidResource) as caught:
        await decoder.decode(b"modules", UID)
    modules = set(str(caught.value).split())
    assert "connectors.decoding_worker" in modules
    assert not modules & {"torch", "torchvision", "models", "streams", "faust"}


def test_a_worker_that_has_torch_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", os)
    with pytest.raises(RuntimeError, match="torch"):
        decoding_worker.initialise(2 * 1024**3)

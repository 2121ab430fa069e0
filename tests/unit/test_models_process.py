"""A model in a process of its own: who dies, hangs or swells in there costs nobody else's answer, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from models.image_model import ImageModel
from models.process import ModelProcess
from schemas.errors import ModelFailed, ModelUnavailable, SettingsInvalid, Unsuitable
from schemas.ports import FindingModel
from tests.unit import image_models
from tests.unit.image_models import number_of, radiograph, said
from tests.unit.model_processes import ended, fifos, pid_of, started

__all__ = ["fifos"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[ModelProcess]:
    async with started(batch=4) as model:
        yield model


async def test_it_is_the_port_and_says_who_it_is(model: ModelProcess) -> None:
    port: FindingModel = model
    there = image_models.Obedient()
    assert (port.identity, port.service, port.threshold, model.card) == (there.identity, there.service, there.threshold, there.card)
    assert await pid_of(port) != os.getpid()


async def test_two_hundred_at_once_each_with_its_own_answer(model: ModelProcess) -> None:
    answers = await asyncio.gather(*(model.predict(radiograph(n, side=8 + n % 5)) for n in range(200)))
    assert [number_of(answer) for answer in answers] == list(range(200))
    assert {answer.image.rows for answer in answers} == {8, 9, 10, 11, 12}
    assert max(said(answer, "together") for answer in answers) == 4


async def test_what_is_wrong_with_one_is_its_own(model: ModelProcess) -> None:
    asked = [model.predict(radiograph(n, "unsuitable" if n == 1 else "")) for n in range(4)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[1], Unsuitable)
    assert [number_of(answers[n]) for n in (0, 2, 3)] == [0, 2, 3]


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("raise", "the model raised RuntimeError, 2 times"),
        ("die", "the model's process ended with code -9, 2 times"),
        ("crash", "the model's process ended with code -11, 2 times"),
        ("exit", "the model's process ended with code 3, 2 times"),
    ],
)
async def test_whoever_breaks_the_process_is_alone_in_it_the_second_time(model: ModelProcess, does: str, words: str) -> None:
    asked = [model.predict(radiograph(n, does if n == 2 else "")) for n in range(6)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    broken = answers.pop(2)
    assert isinstance(broken, ModelFailed) and words in str(broken) and "secret" not in str(broken)
    assert [number_of(answer) for answer in answers] == [0, 1, 3, 4, 5]


async def test_a_process_killed_from_outside_costs_no_answer(fifos: tuple[Path, Path]) -> None:
    out, back = fifos
    async with started() as model:
        asked = asyncio.create_task(model.predict(radiograph(5, f"held {out} {back}")))
        first = int(await asyncio.to_thread(out.read_text))
        os.kill(first, signal.SIGKILL)
        second = int(await asyncio.to_thread(out.read_text))
        await asyncio.to_thread(back.write_text, "go")
        answer = await asked
        assert (number_of(answer), said(answer, "process")) == (5, second)
        assert first != second


async def test_a_process_killed_while_it_has_nothing_to_do_costs_nothing(model: ModelProcess) -> None:
    first = await pid_of(model)
    wait = ended(first)
    os.kill(first, signal.SIGKILL)
    await asyncio.to_thread(wait)
    assert await pid_of(model) != first


async def test_whoever_hangs_is_ended_and_the_others_are_asked_again() -> None:
    async with started(batch=3, timeout_s=4) as model:
        first = await pid_of(model)
        asked = [model.predict(radiograph(n, "hang" if n == 1 else "")) for n in range(3)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(answers[1], ModelFailed) and "no answer within 4 s, 2 times" in str(answers[1])
        assert [number_of(answers[n]) for n in (0, 2)] == [0, 2]
        assert await pid_of(model) != first


async def test_a_server_that_lets_nobody_in_is_no_fault_of_the_image(model: ModelProcess) -> None:
    with pytest.raises(ModelUnavailable, match="token has expired"):
        await model.predict(radiograph(1, "refused"))


@pytest.mark.parametrize(
    ("load", "error", "words"),
    [
        (image_models.load_nothing, SettingsInvalid, "no card.toml"),
        (image_models.load_damaged, ModelFailed, "SHA-256"),
        (image_models.load_and_exit, ModelFailed, "ended with code 7"),
        (image_models.load_and_die_saying_it, ModelFailed, "ended with code 7"),
    ],
)
async def test_what_cannot_be_loaded_is_said_at_once(load: Callable[[], ImageModel], error: type[Exception], words: str) -> None:
    before = children()
    with pytest.raises(error, match=words):
        await ModelProcess.start(load)
    assert children() == before


def children() -> set[str]:
    """Processes of ours that hold a model."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread, or a process, that has just ended
            for pid in (task / "children").read_text().split():
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.add(pid)
    return found


async def test_a_process_that_cannot_be_started_again(tmp_path: Path) -> None:
    async with started(partial(image_models.load_once, tmp_path / "flag"), batch=4) as model:
        for _ in range(2):  # each time it is tried
            with pytest.raises(ModelUnavailable, match="cannot be started again: does not have the card's SHA-256"):
                await model.predict(radiograph(1, "die"))
        (tmp_path / "flag").unlink()
        assert number_of(await model.predict(radiograph(3))) == 3


async def test_a_process_that_has_become_another_model_does_not_speak(tmp_path: Path) -> None:
    async with started(partial(image_models.load_another, tmp_path / "flag")) as model:
        with pytest.raises(ModelUnavailable, match="obedient/1: has become another model"):
            await model.predict(radiograph(1, f"die-once {tmp_path / 'died'}"))
        (tmp_path / "flag").unlink()
        assert number_of(await model.predict(radiograph(3))) == 3


@pytest.mark.parametrize("does", ["held", "deaf"])
async def test_closing_ends_it_also_with_an_image_in_it(
    fifos: tuple[Path, Path], does: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.process._KILL_AFTER_S", 0.2)
    out, back = fifos
    async with started() as model:
        asked = [asyncio.create_task(model.predict(radiograph(n, f"{does} {out} {back}"))) for n in range(2)]
        wait = ended(int(await asyncio.to_thread(out.read_text)))
        await model.close()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(answer, ModelUnavailable) for answer in answers)
        await asyncio.to_thread(wait)
        with pytest.raises(ModelUnavailable, match="closed"):
            await model.predict(radiograph())


async def test_closing_goes_on_to_its_end_when_whoever_closes_is_cancelled(
    fifos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process must not be left behind, and who closes it too waits for the same end."""
    monkeypatch.setattr("models.process._KILL_AFTER_S", 0.2)
    out, back = fifos
    async with started() as model:
        asked = asyncio.create_task(model.predict(radiograph(1, f"deaf {out} {back}")))
        pid = int(await asyncio.to_thread(out.read_text))
        closings = [asyncio.create_task(model.close()) for _ in range(3)]
        await asyncio.sleep(0)
        for _ in range(2):  # a stop, and another one
            closings[0].cancel()
            for _ in range(8):
                await asyncio.sleep(0)
        for closing in asyncio.as_completed(closings):
            with suppress(asyncio.CancelledError):
                await closing
            assert not Path(f"/proc/{pid}").exists()
        assert [closing.cancelled() for closing in closings] == [True, False, False]
        with pytest.raises(ModelUnavailable):
            await asked


async def test_torch_has_as_many_threads_as_it_is_given() -> None:
    async with started(image_models.load_with_torch, threads=3) as model:
        assert model.identity.version == "3-1"


async def test_ctrl_c_of_the_terminal_is_not_for_it(model: ModelProcess) -> None:
    pid = await pid_of(model)
    os.kill(pid, signal.SIGINT)
    assert await pid_of(model) == pid


async def test_it_ends_on_term(model: ModelProcess) -> None:
    pid = await pid_of(model)
    wait = ended(pid)
    os.kill(pid, signal.SIGTERM)
    await asyncio.to_thread(wait)


async def test_whoever_gives_up_takes_nothing_from_the_others(fifos: tuple[Path, Path]) -> None:
    out, back = fifos
    async with started() as model:
        asked = [asyncio.create_task(model.predict(radiograph(n, f"held {out} {back}" if n == 0 else ""))) for n in range(3)]
        await asyncio.to_thread(out.read_text)
        asked[0].cancel()
        asked[1].cancel()
        await asyncio.to_thread(back.write_text, "go")
        assert number_of(await asked[2]) == 2
        assert asked[0].cancelled() and asked[1].cancelled()

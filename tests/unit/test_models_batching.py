"""Many ask, one pass at a time answers: everybody gets his own answer, whatever the others do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from models.batching import _PASSES_BEFORE_MORE, Batching, PassSpoilt
from schemas.errors import ItemNotServed, ModelFailed, ModelUnavailable, RadstreamError, Unsuitable
from schemas.ports import Prediction, Radiograph
from tests.unit.image_models import Obedient, number_of, radiograph

OBEDIENT = Obedient()


class Passes:
    """Answers as each radiograph's Series Description says, after so many turns of the event loop, or when `go` is set."""

    def __init__(self, batch: int = 100, turns: int = 1) -> None:
        self._batch = batch
        self._turns = turns
        self._running = False
        self.seen: list[list[int]] = []
        self.unavailable: set[int] = set()
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, radiographs: Sequence[Radiograph]) -> list[Prediction | RadstreamError]:
        assert not self._running and 0 < len(radiographs) <= self._batch
        self._running = True
        numbers = [int(one.pixels[0, 0]) for one in radiographs]
        self.seen.append(numbers)
        self.begun.set()
        try:
            for _ in range(self._turns):
                await asyncio.sleep(0)
            await self.go.wait()
            does = {one.series_description for one in radiographs}
            if "unavailable" in does:
                self.unavailable.update(numbers)
                raise ModelUnavailable("analyse", "obedient/1", "away")
            if "spoil" in does:
                raise PassSpoilt("it died")
            answers = OBEDIENT.predict_all(radiographs)
            return answers[1:] if "lose" in does else answers
        finally:
            self._running = False


DOES = ["", "", "", "unsuitable", "raise", "spoil", "lose", "unavailable", "at-most 1", "at-most 2", "at-most 0"]


@dataclass(frozen=True)
class Asked:
    """After so many turns of the event loop; cancelled after so many more."""

    does: str
    comes: int
    leaves: int | None


ASKED = st.builds(Asked, does=st.sampled_from(DOES), comes=st.integers(0, 12), leaves=st.none() | st.none() | st.integers(0, 12))


@given(asked=st.lists(ASKED, max_size=24), batch=st.integers(1, 6), turns=st.integers(0, 4), wait_ms=st.sampled_from([0, 0, 0.5]))
@settings(max_examples=300)
def test_everybody_gets_his_own_answer(asked: list[Asked], batch: int, turns: int, wait_ms: float) -> None:
    passes, answers = asyncio.run(play(asked, batch, turns, wait_ms))
    for number, (one, answer) in enumerate(zip(asked, answers, strict=True)):
        if isinstance(answer, asyncio.CancelledError):
            assert one.leaves is not None
        elif number in passes.unavailable and isinstance(answer, ModelUnavailable):
            pass
        elif one.does in ("", "at-most 1", "at-most 2"):
            assert isinstance(answer, Prediction) and number_of(answer) == number
        else:
            assert isinstance(answer, {"unsuitable": Unsuitable, "at-most 0": ItemNotServed}.get(one.does, ModelFailed))
            assert answer.reference == f"1.2.{number}"
    assert all(numbers.count(number) == 1 for numbers in passes.seen for number in numbers)


async def play(asked: list[Asked], batch: int, turns: int, wait_ms: float) -> tuple[Passes, list[Prediction | BaseException]]:
    passes = Passes(batch, turns)
    batching = Batching(passes, batch=batch, wait_ms=wait_ms)

    async def ask(number: int, one: Asked) -> Prediction:
        for _ in range(one.comes):
            await asyncio.sleep(0)
        task = asyncio.create_task(batching.predict(radiograph(number, one.does)))
        if one.leaves is not None:
            for _ in range(one.leaves):
                await asyncio.sleep(0)
            task.cancel()
        return await task

    async with asyncio.timeout(10):
        answers = await asyncio.gather(*(ask(number, one) for number, one in enumerate(asked)), return_exceptions=True)
        await batching.close()
    return passes, answers


async def asking(batching: Batching, *does: str) -> list[Prediction | BaseException]:
    return await asyncio.gather(*(batching.predict(radiograph(n, do)) for n, do in enumerate(does)), return_exceptions=True)


async def test_those_that_wait_are_one_pass_in_their_order() -> None:
    passes = Passes()
    await asking(Batching(passes, batch=4), *[""] * 10)
    assert passes.seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_a_full_pass_does_not_wait() -> None:
    passes = Passes()
    async with asyncio.timeout(10):
        await asking(Batching(passes, batch=4, wait_ms=1_000_000), *[""] * 4)
    assert passes.seen == [[0, 1, 2, 3]]


async def test_the_first_waits_for_others_no_longer_than_it_may() -> None:
    passes = Passes()
    batching = Batching(passes, batch=4, wait_ms=500)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    first = asyncio.create_task(batching.predict(radiograph(0)))
    for _ in range(5):
        await asyncio.sleep(0)
    await asyncio.gather(first, batching.predict(radiograph(1)))
    assert passes.seen == [[0, 1]]
    assert 0.499 <= loop.time() - begun < 10


async def test_having_waited_for_a_pass_is_having_waited() -> None:
    passes = Passes()
    passes.go.clear()
    batching = Batching(passes, batch=2, wait_ms=3000)
    loop = asyncio.get_running_loop()
    pair = [asyncio.create_task(batching.predict(radiograph(n))) for n in range(2)]
    await passes.begun.wait()
    late = asyncio.create_task(batching.predict(radiograph(2)))
    await asyncio.sleep(3.01)  # time itself is what is awaited: as long as the first would have waited
    released = loop.time()
    passes.go.set()
    await asyncio.gather(*pair, late)
    assert loop.time() - released < 2.9
    assert passes.seen == [[0, 1], [2]]


async def test_a_pass_that_is_spoilt_is_repeated_image_by_image() -> None:
    passes = Passes()
    answers = await asking(Batching(passes, batch=3), "", "spoil", "", "")
    assert passes.seen == [[0, 1, 2], [0], [1], [2], [3]]
    assert isinstance(answers[1], ModelFailed) and answers[1].reason == "it died, 2 times"


async def test_out_of_memory_halves_until_it_fits_and_stays_there() -> None:
    passes = Passes()
    with capture_logs() as lines:
        await asking(Batching(passes, batch=8), *["at-most 2"] * 12)
    assert [len(numbers) for numbers in passes.seen] == [8, 4, 2, 2, 2, 2, 2, 2]
    said = {"event": "out of memory: fewer images in a pass", "log_level": "warning"}
    assert lines == [said | {"images": 8, "next": 4}, said | {"images": 4, "next": 2}]


async def test_after_many_full_passes_more_is_tried_again() -> None:
    passes = Passes()
    batching = Batching(passes, batch=6)
    await asking(batching, *["at-most 3"] * 6)
    assert [len(numbers) for numbers in passes.seen] == [6, 3, 3]
    await asking(batching, *[""] * (3 * (_PASSES_BEFORE_MORE - 2) + 12))
    assert [len(numbers) for numbers in passes.seen[-3:]] == [3, 6, 6]


async def test_whoever_is_cancelled_in_a_pass_does_not_hold_it_up() -> None:
    passes = Passes()
    passes.go.clear()
    batching = Batching(passes, batch=2)
    asked = [asyncio.create_task(batching.predict(radiograph(n))) for n in range(4)]
    await passes.begun.wait()
    asked[0].cancel()
    asked[2].cancel()
    passes.go.set()
    assert [number_of(await asked[n]) for n in (1, 3)] == [1, 3]
    assert passes.seen == [[0, 1], [3]]


async def test_nobody_is_asked_again_for_one_who_has_gone() -> None:
    passes = Passes()
    passes.go.clear()
    batching = Batching(passes, batch=2)
    asked = [asyncio.create_task(batching.predict(radiograph(n, "spoil"))) for n in range(2)]
    await passes.begun.wait()
    asked[0].cancel()
    passes.go.set()
    with pytest.raises(ModelFailed):
        await asked[1]
    assert passes.seen == [[0, 1], [1]]


async def test_each_gets_an_error_of_his_own() -> None:
    one, other = await asking(Batching(Passes(), batch=2), "unavailable", "")
    assert isinstance(one, ModelUnavailable) and isinstance(other, ModelUnavailable)
    assert one is not other


async def test_closing_waits_for_the_pass_and_refuses_the_others() -> None:
    passes = Passes()
    passes.go.clear()
    batching = Batching(passes, batch=2)
    asked = [asyncio.create_task(batching.predict(radiograph(n))) for n in range(3)]
    await passes.begun.wait()
    closing = asyncio.create_task(batching.close())
    with pytest.raises(ModelUnavailable, match="closed"):
        await asked[2]
    assert not closing.done()
    passes.go.set()
    await closing
    assert [number_of(await asked[n]) for n in (0, 1)] == [0, 1]
    with pytest.raises(ModelUnavailable, match="closed"):
        await batching.predict(radiograph(4))


async def test_closing_ends_the_waiting_for_others() -> None:
    batching = Batching(Passes(), batch=2, wait_ms=1_000_000)
    asked = asyncio.create_task(batching.predict(radiograph()))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await batching.close()
    with pytest.raises(ModelUnavailable, match="closed"):
        await asked

"""A model on a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from models.in_process import InProcess
from schemas.errors import ModelFailed, ModelUnavailable, RadstreamError, Unsuitable
from schemas.ports import FindingModel, Prediction, Radiograph
from tests.unit.image_models import Obedient, number_of, radiograph, said


class Watched(Obedient):
    """Knows the threads it was on."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def predict_all(self, radiographs: Sequence[Radiograph]) -> list[Prediction | RadstreamError]:
        self.threads.add(threading.get_ident())
        return super().predict_all(radiographs)


async def test_it_is_the_port_on_one_thread_of_its_own() -> None:
    inner = Watched()
    model = InProcess(inner, batch=4)
    port: FindingModel = model
    assert (port.identity, port.service, port.threshold, model.card) == (inner.identity, inner.service, inner.threshold, inner.card)
    answers = await asyncio.gather(*(port.predict(radiograph(n)) for n in range(30)))
    assert [number_of(answer) for answer in answers] == list(range(30))
    assert max(said(answer, "together") for answer in answers) == 4
    assert len(inner.threads) == 1 and threading.get_ident() not in inner.threads
    await model.close()
    assert inner.closed


async def test_what_is_wrong_with_one_is_its_own() -> None:
    model = InProcess(Obedient(), batch=4)
    asked = [model.predict(radiograph(n, does)) for n, does in enumerate(["", "unsuitable", "raise", ""])]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[1], Unsuitable)
    assert isinstance(answers[2], ModelFailed) and "secret" not in str(answers[2])
    assert [number_of(answers[n]) for n in (0, 3)] == [0, 3]
    await model.close()
    with pytest.raises(ModelUnavailable):
        await model.predict(radiograph())

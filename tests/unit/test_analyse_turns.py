"""Whose image is decoded, and seen by the model, next: STAT, then what somebody waits for, then the bulk lane."""

from __future__ import annotations

import asyncio

import pytest

from schemas.events import Priority
from schemas.study_events import AnalysisRequested
from streams.steps.analyse import analyse
from streams.turns import Turns
from tests.contract.example_images import part10, radiograph, study_of
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.test_image_decoders import InProcessDecoder
from tests.unit.analyses import KeptInMemory, ScriptedModel, record_of, request_for, using


@pytest.mark.parametrize("busy", ["decoding", "predicting"])
async def test_the_most_urgent_study_is_next(busy: str) -> None:
    images = {name: radiograph() for name in ("bulk", "routine", "STAT")}
    archive, model = FakeStudyArchive(), ScriptedModel()
    await archive.store([part10(image) for image in images.values()])
    turns = {"decoding": Turns(), "predicting": Turns()}

    async def request(name: str) -> AnalysisRequested:
        study = study_of(images[name])
        asked = request_for(study, (await archive.describe(study)).images)
        subject = asked.subject.model_copy(update={"outward": name != "bulk"})
        priority = Priority.STAT if name == "STAT" else Priority.ROUTINE
        return asked.model_copy(update={"subject": subject, "priority": priority})

    async with turns[busy].turn(0):  # somebody else has it
        running = []
        for name in images:
            step = analyse(
                record_of(await request(name)),
                archive=archive,
                decoder=InProcessDecoder(),
                models=using(model),
                kept=KeptInMemory(),
                decoding=turns["decoding"],
                predicting=turns["predicting"],
            )
            running.append(asyncio.create_task(step))
        for _ in range(50):  # until all of them stand and wait
            await asyncio.sleep(0)
        assert model.seen == []
    await asyncio.gather(*running)
    assert [one.sop_instance_uid for one in model.seen] == [images[name].SOPInstanceUID for name in ("STAT", "routine", "bulk")]

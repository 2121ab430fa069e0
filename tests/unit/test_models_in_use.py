"""Whatever comes between, each analysis is made by one model, and a model is closed once, after its last analysis."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ModelFailed, ModelUnavailable
from schemas.findings import Findings
from schemas.model_events import ModelPromoted
from schemas.ports import Radiograph
from streams.promotion.acts import promotion
from streams.promotion.models_in_use import InUse, ModelsInUse, approved
from streams.steps.analyse import analyse
from streams.steps.choosing import IntendedUse
from streams.topics import RESULTS, Topic
from streams.turns import Turns
from tests.contract.example_images import radiograph
from tests.contract.test_image_decoders import InProcessDecoder
from tests.unit.analyses import KeptInMemory, ScriptedModel, record_of, stored
from tests.unit.packages import NOW


class Version(ScriptedModel):
    """`closed`: how often."""

    def __init__(self, version: str, service: str = ScriptedModel.service) -> None:
        super().__init__()
        self.identity = ScriptedModel.identity.model_copy(update={"version": version})
        self.service = service
        self.closed = 0

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1

    @property
    def in_use(self) -> InUse:
        return InUse(self, IntendedUse(), self.close)


def test_what_was_approved_is_weights_and_card() -> None:
    mine = replace(Version("1").in_use, card_sha256="a" * 64)
    approved = promotion(mine.model.identity, mine.model.service, card_sha256="a" * 64, approved_by="Dr A", reason="why", at=NOW)
    assert mine.is_what(approved)
    assert not replace(mine, card_sha256="b" * 64).is_what(approved), "another threshold under the same version"
    assert not Version("2").in_use.is_what(approved)


async def test_what_is_no_longer_what_was_approved_is_closed_and_says_what_to_do() -> None:
    mine, changed = Version("1"), Version("2")
    there = {"1": replace(mine.in_use, card_sha256="a" * 64), "2": replace(changed.in_use, card_sha256="b" * 64)}

    async def load(reference: str) -> InUse:
        return there[reference.rpartition("/")[2]]

    def act(version: Version) -> ModelPromoted:
        return promotion(version.identity, version.service, card_sha256="a" * 64, approved_by="Dr A", reason="why", at=NOW)

    assert await approved(load, act(mine), "promote it again") is there["1"]
    with pytest.raises(ModelFailed, match=f"{changed.identity.name}/2: is not what was approved: .*; promote it again"):
        await approved(load, act(changed), "promote it again")
    assert (mine.closed, changed.closed) == (0, 1)


#: an analysis begins; the nth that is under way ends; another model is promoted
ACTS = st.lists(st.one_of(st.just("begin"), st.integers(0, 5), st.just("change")), max_size=25)


@given(ACTS)
def test_whatever_comes_between(acts: list[str | int]) -> None:
    async def walk() -> None:
        versions = [Version("0")]
        models = ModelsInUse(versions[0].in_use)
        under_way: list[tuple[AsyncExitStack, InUse, Version]] = []
        for act in acts:
            if act == "begin":
                stack = AsyncExitStack()
                in_use = await stack.enter_async_context(models.lease())
                assert in_use.model is versions[-1]
                under_way.append((stack, in_use, versions[-1]))
            elif act == "change":
                versions.append(Version(str(len(versions))))
                models.change(versions[-1].in_use)
            elif isinstance(act, int) and act < len(under_way):
                stack, in_use, mine = under_way.pop(act)
                assert in_use.model is mine and mine.closed == 0
                await stack.aclose()
            await asyncio.sleep(0)
            assert all(mine.closed == 0 for _, _, mine in under_way), "closed under an analysis"
        closing = asyncio.create_task(models.close())
        for stack, _, mine in under_way:
            await asyncio.sleep(0)
            assert mine.closed == 0
            await stack.aclose()
        await closing
        assert [version.closed for version in versions] == [1] * len(versions)

    asyncio.run(walk())


async def test_the_old_one_is_closed_while_the_engine_goes_on() -> None:
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    models = ModelsInUse(InUse(Version("1"), IntendedUse(), close))
    async with models.lease():
        models.change(Version("2").in_use)
        await asyncio.sleep(0)
        assert not closed.is_set()
    await asyncio.wait_for(closed.wait(), 5)
    assert models.current.model.identity.version == "2"
    await models.close()


async def test_a_model_that_cannot_be_closed_is_told_and_disturbs_nothing() -> None:
    async def broken() -> None:
        raise OSError("it hangs")

    models = ModelsInUse(InUse(Version("1"), IntendedUse(), broken))
    with structlog.testing.capture_logs() as logs:
        models.change(Version("2").in_use)
        await models.close()
    assert [(line["event"], line["log_level"]) for line in logs] == [("a model could not be closed", "error")]


async def test_there_is_no_lease_after_the_end() -> None:
    models = ModelsInUse(Version("1").in_use)
    await models.close()
    with pytest.raises(ModelUnavailable):
        async with models.lease():
            pytest.fail("a lease of a closed model")


async def test_a_study_of_several_images_is_seen_by_one_model() -> None:
    first = radiograph()
    archive, request = await stored(first, *(radiograph(StudyInstanceUID=first.StudyInstanceUID) for _ in range(3)))
    old, new = Version("1"), Version("2")
    models = ModelsInUse(old.in_use)

    class Promoting(InProcessDecoder):
        async def decode(self, part10: bytes, expected: object) -> Radiograph:
            if models.current.model is old:
                models.change(new.in_use)
            return await super().decode(part10, expected)  # type: ignore[arg-type]

    (out,) = await analyse(
        record_of(request),
        archive=archive,
        decoder=Promoting(),
        models=models,
        decoding=Turns(),
        predicting=Turns(),
        kept=KeptInMemory(),
    )
    findings = Findings.model_validate_json(out.value)
    assert findings.model == old.identity
    assert (len(old.seen), len(new.seen)) == (4, 0)
    await models.close()
    assert (old.closed, new.closed) == (1, 1)


async def test_read_again_after_a_promotion_the_same_bytes_are_written() -> None:
    archive, request = await stored(radiograph())
    models, kept = ModelsInUse(Version("1").in_use), KeptInMemory()

    async def once() -> bytes:
        record = record_of(request)
        (out,) = await analyse(
            record, archive=archive, decoder=InProcessDecoder(), models=models, decoding=Turns(), predicting=Turns(), kept=kept
        )
        return out.value

    first = await once()
    new = Version("2")
    models.change(new.in_use)
    assert await once() == first
    assert new.seen == []
    kept.values.clear()
    assert Findings.model_validate_json(await once()).model == new.identity, "what is asked for the first time, the new one answers"
    await models.close()


async def test_not_analysed_is_kept_too() -> None:
    archive, request = await stored(radiograph(Modality="CT"))
    models, kept = ModelsInUse(Version("1").in_use), KeptInMemory()
    values = set()
    for _ in range(2):
        (out,) = await analyse(
            record_of(request),
            archive=archive,
            decoder=InProcessDecoder(),
            models=models,
            decoding=Turns(),
            predicting=Turns(),
            kept=kept,
        )
        values.add(out.value)
        models.change(replace(Version("2").in_use, intended_use=IntendedUse(modalities=frozenset({"CT"}))))
    assert len(values) == 1
    await models.close()


async def test_who_kept_first_is_what_is_written() -> None:
    """Two processes, one analysis: the slower one finds what the other kept meanwhile."""
    archive, request = await stored(radiograph())

    class Overtaken(KeptInMemory):
        async def put_analysis(self, analysis_id: object, value: bytes) -> bytes:
            return b"what the other one said"

    (out,) = await analyse(
        record_of(request),
        archive=archive,
        decoder=InProcessDecoder(),
        models=ModelsInUse(Version("1").in_use),
        decoding=Turns(),
        predicting=Turns(),
        kept=Overtaken(),
    )
    assert out.value == b"what the other one said"


async def test_another_service_answers_under_an_id_of_its_own() -> None:
    archive, request = await stored(radiograph())
    ids = set()
    for service in ("chest-radiograph-findings", "devices", "fractures"):
        (out,) = await analyse(
            record_of(request),
            archive=archive,
            decoder=InProcessDecoder(),
            models=ModelsInUse(Version("1", service).in_use),
            decoding=Turns(),
            predicting=Turns(),
            kept=KeptInMemory(),
        )
        findings = Findings.model_validate_json(out.value)
        assert findings.service == service
        assert dict(out.headers)["ce_id"] == str(findings.analysis_id).encode()
        assert (findings.analysis_id == request.id) is (service == "chest-radiograph-findings")
        assert out.topic == RESULTS.name
        ids.add(findings.analysis_id)
    assert len(ids) == 3


async def test_a_sandbox_writes_to_its_own_topic_and_keeps_nothing() -> None:
    archive, request = await stored(radiograph())
    model = Version("1")
    for _ in range(2):
        (out,) = await analyse(
            record_of(request),
            archive=archive,
            decoder=InProcessDecoder(),
            models=ModelsInUse(model.in_use),
            decoding=Turns(),
            predicting=Turns(),
            kept=None,
            results=Topic("sandbox.candidate.ai.results"),
        )
        assert out.topic == "sandbox.candidate.ai.results"
    assert len(model.seen) == 2

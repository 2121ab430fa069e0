"""What every `FindingModel` does, wherever its numbers are computed. A subclass says how one is opened."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from models.inference import PackageModel
from models.registry import load, self_test_image
from schemas.errors import ModelUnavailable, Unsuitable
from schemas.findings import NotAnalysedReason
from schemas.identifiers import SOPInstanceUID
from schemas.ports import FindingModel, Prediction, Radiograph
from tests.contract.panel_package import DEVICES, panel_package

#: of a probability, and of a box in pixels of the image
TOLERANCE, PIXELS = 1e-3, 0.5


def radiograph(number: int = 0) -> Radiograph:
    """The self-test's film; the others are of other patients, so to speak: other noise, other contrast, other size."""
    noise = np.random.default_rng(number).normal(0, 40 * number, (600, 500))
    pixels = np.clip(self_test_image() * (1 - 0.03 * number) + noise, 0, 4095).astype(np.float32)
    return Radiograph(
        sop_instance_uid=SOPInstanceUID(f"1.2.{number}"),
        pixels=pixels[: 600 - 20 * number, : 500 - 7 * number],
        pixel_sha256=f"{number:064x}",
        modality="CR",
        body_part_examined="CHEST",
        view_position="PA",
    )


def blank(of: Radiograph) -> Radiograph:
    return dataclasses.replace(of, pixels=np.zeros((600, 500), np.uint16))


def assert_same(said: Prediction, reference: Prediction) -> None:
    assert said.image.probability == pytest.approx(reference.image.probability, abs=TOLERANCE)
    assert [output.name for output in said.image.outputs] == [output.name for output in reference.image.outputs]
    for one, other in zip(said.image.outputs, reference.image.outputs, strict=True):
        assert one.value == pytest.approx(other.value, abs=TOLERANCE)
        assert one.model_copy(update={"value": 0.0}) == other.model_copy(update={"value": 0.0})
    assert len(said.findings) == len(reference.findings)
    for found, expected in zip(said.findings, reference.findings, strict=True):
        assert (found.ordinal, found.kind) == (expected.ordinal, expected.kind)
        assert found.region.sop_instance_uid == expected.region.sop_instance_uid
        for side in ("left", "top", "width", "height"):
            assert getattr(found.region, side) == pytest.approx(getattr(expected.region, side), abs=PIXELS)
    image = {"probability", "outputs"}
    assert said.image.model_dump(exclude=image) == reference.image.model_dump(exclude=image)


@pytest.mark.asyncio(loop_scope="class")
class FindingModelContract:
    """Of the panel package."""

    @classmethod
    def opened(cls, package: Path) -> AbstractAsyncContextManager[FindingModel]:
        """The model of that package, closed at the end."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def package(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return panel_package(tmp_path_factory.mktemp("packages"))

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls, package: Path) -> Iterator[PackageModel]:
        """The same package here, asked image by image."""
        model = load(package, tests=True)
        yield model
        model.close()

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def model(cls, package: Path) -> AsyncIterator[FindingModel]:
        async with cls.opened(package) as model:
            yield model

    async def test_who_speaks(self, model: FindingModel, reference: PackageModel) -> None:
        assert (model.identity, model.service, model.threshold) == (reference.identity, reference.service, reference.threshold)

    async def test_the_self_tests_film(self, model: FindingModel, reference: PackageModel) -> None:
        said = await model.predict(radiograph())
        assert_same(said, expected(reference, radiograph()))
        assert said.findings and [output.name for output in said.image.outputs] == list(DEVICES)

    async def test_pixels_of_sixteen_bits(self, model: FindingModel, reference: PackageModel) -> None:
        whole = dataclasses.replace(radiograph(3), pixels=radiograph(3).pixels.astype(np.uint16))
        assert_same(await model.predict(whole), expected(reference, whole))

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"modality": "CT"}, NotAnalysedReason.WRONG_MODALITY),
            ({"body_part_examined": "KNEE"}, NotAnalysedReason.WRONG_BODY_PART),
            ({"view_position": "LL"}, NotAnalysedReason.WRONG_VIEW),
            ({"pixels": np.full((600, 500), 7, np.uint16)}, NotAnalysedReason.NO_IMAGE),
        ],
    )
    async def test_what_it_is_not_made_for(self, model: FindingModel, changes: dict[str, object], code: NotAnalysedReason) -> None:
        with pytest.raises(Unsuitable) as raised:
            await model.predict(dataclasses.replace(radiograph(), **changes))  # type: ignore[arg-type]
        assert (raised.value.code, raised.value.reference) == (code, "1.2.0")

    async def test_alone_or_among_eight_the_same(self, model: FindingModel, reference: PackageModel) -> None:
        films = [radiograph(number) for number in range(8)]
        together = await asyncio.gather(*(model.predict(film) for film in films))
        wanted = [expected(reference, film) for film in films]
        for said, alone in zip(together, wanted, strict=True):
            assert_same(said, alone)
        # or an answer given to the wrong caller would not be seen
        assert len({alone.image.probability for alone in wanted}) == len(films)
        assert {bool(alone.findings) for alone in wanted} == {True, False}

    async def test_what_is_wrong_with_one_spoils_no_other(self, model: FindingModel, reference: PackageModel) -> None:
        films = [radiograph(number) for number in range(8)]
        films[2], films[5] = dataclasses.replace(films[2], modality="US"), blank(films[5])
        said = await asyncio.gather(*(model.predict(film) for film in films), return_exceptions=True)
        wrong = {at: one.code for at, one in enumerate(said) if isinstance(one, Unsuitable)}
        assert wrong == {2: NotAnalysedReason.WRONG_MODALITY, 5: NotAnalysedReason.NO_IMAGE}
        for at in range(8):
            if at not in wrong:
                one = said[at]
                assert isinstance(one, Prediction)
                assert_same(one, expected(reference, films[at]))

    async def test_closed(self, package: Path) -> None:
        async with self.opened(package) as model:
            await model.predict(radiograph())
        with pytest.raises(ModelUnavailable):
            await model.predict(radiograph())


def expected(reference: PackageModel, film: Radiograph) -> Prediction:
    (answer,) = reference.predict_all([film])
    assert isinstance(answer, Prediction), answer
    return answer

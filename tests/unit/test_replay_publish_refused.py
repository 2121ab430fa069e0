"""What stands against publishing what a replay said: it is told, and nothing is."""

from __future__ import annotations

import pytest

from schemas.errors import SettingsInvalid
from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import AccessionNumber, PatientIdentifier
from streams.replay.changes import Tolerance
from streams.replay.publishing import Approval, publications, publish
from tests.unit.cases import reason, recall
from tests.unit.published_replays import NOW, At, Log
from tests.unit.replays import HERE, NAME, OTHER_MODEL, said, uid


@pytest.fixture
def log() -> Log:
    return Log()


async def test_what_was_never_told_or_never_answered_is_refused(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(said(2, [HERE]))
    assert "never told anything" in (await log.publishes(2)).refused
    assert (await log.publishes(1)).refused == "the replay has no answer"


@pytest.mark.parametrize(
    ("standing", "why"),
    [
        (said(1, revision="9" * 64, sequence=32), "the study has other images now"),
        (said(1, patient=PatientIdentifier(value="2", assigner="H")), "another patient"),
        (said(1, accession_number=AccessionNumber(value="A2", assigner="RIS")), "another accession number"),
        (said(1, outward=False), "receivers are told nothing"),
        *((said(1, reason=why), why.value) for why in (NotAnalysedReason.ORDER_CANCELLED, NotAnalysedReason.IDENTITY_MISMATCH)),
        *((said(1, reason=why), why.value) for why in (NotAnalysedReason.NO_IMAGE, NotAnalysedReason.LATE)),
    ],
)
async def test_what_stands_against_it(log: Log, standing: Findings, why: str) -> None:
    await log.live(standing)
    await log.replayed(NOW)
    assert why in (await log.publishes(1)).refused
    assert (log.results(), log.acts()) == ([standing], [])


@pytest.mark.parametrize("why", [NotAnalysedReason.NO_ORDER, NotAnalysedReason.LATE, NotAnalysedReason.MODEL_RECALLED])
async def test_that_a_replay_did_not_analyse_for_reasons_of_its_events_is_no_answer(log: Log, why: NotAnalysedReason) -> None:
    await log.live(said(1, [HERE]))
    await log.replayed(said(1, reason=why))
    assert (await log.publishes(1)).refused == f"the replay has no answer of a model ({why.value})"


async def test_that_a_model_does_not_take_the_study_is_an_answer(log: Log) -> None:
    await log.live(said(1, [HERE]))
    await log.replayed(said(1, reason=NotAnalysedReason.WRONG_VIEW))
    await log.publishes(1)
    assert reason(log.results()[1]) is NotAnalysedReason.WRONG_VIEW


async def test_a_recalled_model_is_not_published(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(NOW)
    one = await log.publishes(1, recalled={"nodules/2": recall("nodules", "2")})
    assert one.refused == "nodules/2, which said it, was recalled"


async def test_other_pixels_are_not_comparable(log: Log) -> None:
    (seen,) = NOW.images
    await log.live(said(1))
    await log.replayed(said(1, [HERE], images=(seen.model_copy(update={"pixel_sha256": "c" * 64}),)))
    assert (await log.publishes(1)).refused.startswith("not comparable: 1 image(s) have other pixels")


async def test_the_same_need_not_be_told(log: Log) -> None:
    await log.live(said(1), said(2))
    await log.replayed(said(1, model=OTHER_MODEL), said(2, [HERE]))
    assert (await log.publishes(1)).nothing == "the same stands already"
    assert (await log.publishes()).key[0] == uid(2), "of all that changed, only what did"


async def test_who_must_be_named_and_a_study_must_be_known(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(NOW)
    with pytest.raises(SettingsInvalid, match="said nothing of this study"):
        await log.publishes(2)
    several = publications(NAME, log.compared(), None, {}, Tolerance())
    with pytest.raises(SettingsInvalid, match="--approved-by"):
        await publish(log, NAME, several, Approval(" ", "why"), At())
    assert log.acts() == []

"""What every ReportingSystem must do. Subclasses give the fixtures `system` and `receiver`, two sides of one connection; each test
has a study of its own."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

import pytest

from schemas.errors import ItemNotServed, Refused, Rejected, Unavailable
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, NotAnalysedReason, Subject
from schemas.identifiers import AccessionNumber, SOPInstanceUID, StudyInstanceUID, identity
from schemas.ports import Acknowledgement
from schemas.reporting import ReportingSystem
from streams.sequences import AFTER_VERIFICATION, RECALLED
from tests.contract.example_findings import DEVICES, devices, findings, image, not_analysed, subject
from tests.contract.example_findings import finding as example_finding

#: what a receiver `says`; and `said(sequence)`
NOTHING, NOT_ANALYSED, WITHDRAWN = "nothing", "not analysed", "withdrawn"
#: the time of sequence 0 of `Study`: a receiver that is not told the number is told a time, and knows the number from it
_EPOCH = subject(1).triggered_at - timedelta(minutes=1)


def said(sequence: int, *, after_verification: bool = False) -> str:
    """The findings (perhaps that there are none) of this state stand there."""
    return f"findings of sequence {sequence}" + (", after verification" if after_verification else "")


def sequence_at(triggered_at: datetime) -> int:
    """Of the state of a `Study` that has this time, to the second."""
    return round((triggered_at - _EPOCH).total_seconds() / 60)


class Study:
    """One study that no other test knows, with one image, and its states."""

    def __init__(self) -> None:
        number = uuid4().int
        self.uid = StudyInstanceUID(f"2.25.{number}")
        self.image = SOPInstanceUID(f"2.25.{uuid4().int}")
        self.accession = AccessionNumber(value=f"A{number % 10**12}", assigner="RIS")

    def subject(self, sequence: int) -> Subject:
        return subject(sequence, study=self.uid, accession=self.accession)

    def found(self, sequence: int, **changed: Any) -> Findings:
        """One nodule."""
        nodule = example_finding(1)
        nodule = nodule.model_copy(update={"region": nodule.region.model_copy(update={"sop_instance_uid": self.image})})
        return findings(self.subject(sequence), nodule, **({"images": (image(uid=self.image, probability=0.75),)} | changed))

    def absent(self, sequence: int, **changed: Any) -> Findings:
        return findings(self.subject(sequence), **({"images": (image(uid=self.image, probability=0.25),)} | changed))

    def devices(self, sequence: int) -> Findings:
        """What another service says beside it."""
        images = (image(*devices(0.02, 0.93, 0.4, 0.88), uid=self.image),)
        about, analysis_id = self.subject(sequence), identity("test-analysis", self.uid, str(sequence), DEVICES)
        return findings(about, images=images, threshold=None, service=DEVICES, analysis_id=analysis_id)

    def not_analysed(self, sequence: int, reason: NotAnalysedReason, **changed: Any) -> Findings:
        return not_analysed(reason, self.subject(sequence), **changed)


class Receiver(Protocol):
    """The other side, and what it takes to look into it."""

    async def expects(self, study: Study) -> None:
        """Before anything is told of the study: an archive must hold its image, others need nothing."""
        ...

    async def says(self, study: Study, service: str = CHEST_RADIOGRAPH_FINDINGS) -> str:
        """What stands there now: `said(...)`, NOTHING, NOT_ANALYSED (it was told so), or WITHDRAWN (what it once held)."""
        ...

    async def holds(self, study: Study) -> frozenset[str]:
        """Everything that it was given of the study, each by the identity by which it knows a repetition."""
        ...

    def away(self) -> AbstractAsyncContextManager[None]:
        """Nobody answers, inside."""
        ...

    def refusing(self, study: Study) -> AbstractAsyncContextManager[None]:
        """Inside it takes nothing of this study, and everything of the others."""
        ...


class ReportingSystemContract:
    @pytest.fixture
    async def study(self, receiver: Receiver) -> Study:
        return await self.another(receiver)

    async def another(self, receiver: Receiver) -> Study:
        study = Study()
        await receiver.expects(study)
        return study

    async def test_the_first_telling_stands(self, system: ReportingSystem, receiver: Receiver, study: Study) -> None:
        assert await receiver.says(study) == NOTHING
        answer = await system.tell(study.found(4), None)
        assert isinstance(answer, Acknowledgement)
        assert answer.reference
        assert not answer.superseded
        assert await receiver.says(study) == said(4)

    async def test_that_nothing_was_found_is_told(self, system: ReportingSystem, receiver: Receiver, study: Study) -> None:
        await system.tell(study.absent(4), None)
        assert await receiver.says(study) == said(4)

    async def test_repeating_changes_nothing(self, system: ReportingSystem, receiver: Receiver, study: Study) -> None:
        """With and without knowing that it was told: the answer may have been lost, or only its record."""
        answer = await system.tell(study.found(4), None)
        first = await receiver.holds(study)
        assert first
        for held in (None, study.found(4), study.found(4)):
            assert await system.tell(study.found(4), held) == answer
        assert await receiver.holds(study) == first
        assert await receiver.says(study) == said(4)

    async def test_a_newer_state_replaces(self, system: ReportingSystem, receiver: Receiver, study: Study) -> None:
        await system.tell(study.found(4), None)
        await system.tell(study.absent(8), study.found(4))
        assert await receiver.says(study) == said(8)
        once = await receiver.holds(study)
        await system.tell(study.absent(8), study.found(4))
        assert await receiver.holds(study) == once
        assert await receiver.says(study) == said(8)

    async def test_the_same_analysis_of_a_later_state_replaces(
        self, system: ReportingSystem, receiver: Receiver, study: Study
    ) -> None:
        """An order that came later: nothing new was found."""
        old = study.found(4)
        await system.tell(old, None)
        await system.tell(study.found(8, analysis_id=old.analysis_id), old)
        assert await receiver.says(study) == said(8)

    @pytest.mark.parametrize(
        "reason",
        [
            NotAnalysedReason.IDENTITY_MISMATCH,
            NotAnalysedReason.NO_IMAGE,
            NotAnalysedReason.ORDER_CANCELLED,
            NotAnalysedReason.MODEL_RECALLED,
        ],
    )
    async def test_withdrawal_after_findings(
        self, system: ReportingSystem, receiver: Receiver, study: Study, reason: NotAnalysedReason
    ) -> None:
        withdrawal = study.not_analysed(4 + RECALLED, reason)
        await system.tell(study.found(4), None)
        await system.tell(withdrawal, study.found(4))
        assert await receiver.says(study) == WITHDRAWN
        once = await receiver.holds(study)
        for held in (study.found(4), withdrawal):
            await system.tell(withdrawal, held)
        assert await receiver.holds(study) == once
        assert await receiver.says(study) == WITHDRAWN

    async def test_findings_after_a_withdrawal_stand(self, system: ReportingSystem, receiver: Receiver, study: Study) -> None:
        states = (study.found(4), study.not_analysed(8, NotAnalysedReason.ORDER_CANCELLED), study.found(12))
        for state, held in zip(states, (None, *states), strict=False):
            await system.tell(state, held)
        assert await receiver.says(study) == said(12)

    async def test_withdrawn_again(self, system: ReportingSystem, receiver: Receiver, study: Study) -> None:
        cancelled = NotAnalysedReason.ORDER_CANCELLED
        states = (study.found(4), study.not_analysed(8, cancelled), study.absent(12), study.not_analysed(16, cancelled))
        for state, held in zip(states, (None, *states), strict=False):
            await system.tell(state, held)
        assert await receiver.says(study) == WITHDRAWN

    @pytest.mark.parametrize("reason", [NotAnalysedReason.LATE, NotAnalysedReason.WRONG_VIEW])
    async def test_not_analysed_any_more_leaves_no_finding(
        self, system: ReportingSystem, receiver: Receiver, study: Study, reason: NotAnalysedReason
    ) -> None:
        await system.tell(study.found(4), None)
        await system.tell(study.not_analysed(8, reason), study.found(4))
        assert await receiver.says(study) in (WITHDRAWN, NOT_ANALYSED)

    @pytest.mark.parametrize(
        "reason", [NotAnalysedReason.WRONG_VIEW, NotAnalysedReason.ORDER_CANCELLED, NotAnalysedReason.MODEL_RECALLED]
    )
    async def test_withdrawal_of_nothing(
        self, system: ReportingSystem, receiver: Receiver, study: Study, reason: NotAnalysedReason
    ) -> None:
        """Either the receiver has words for it, or it is told nothing; in both cases it is done."""
        answer = await system.tell(study.not_analysed(4, reason), None)
        assert answer.reference
        assert await receiver.says(study) in (NOTHING, NOT_ANALYSED)

    async def test_what_was_late_is_told_when_it_comes(self, system: ReportingSystem, receiver: Receiver, study: Study) -> None:
        late = study.not_analysed(3, NotAnalysedReason.LATE)
        await system.tell(late, None)
        await system.tell(study.found(4), late)
        assert await receiver.says(study) == said(4)

    async def test_an_answer_after_verification_says_so(self, system: ReportingSystem, receiver: Receiver, study: Study) -> None:
        sequence = 4 + AFTER_VERIFICATION
        marked = study.found(sequence, verified_at=study.subject(sequence).triggered_at)
        await system.tell(study.found(4), None)
        await system.tell(marked, study.found(4))
        assert await receiver.says(study) == said(sequence, after_verification=True)

    async def test_two_services_of_one_study_do_not_disturb_each_other(
        self, system: ReportingSystem, receiver: Receiver, study: Study
    ) -> None:
        beside = study.devices(4)
        await system.tell(study.found(4), None)
        await system.tell(beside, None)
        assert [await receiver.says(study), await receiver.says(study, DEVICES)] == [said(4), said(4)]
        await system.tell(study.not_analysed(8, NotAnalysedReason.MODEL_RECALLED), study.found(4))
        assert [await receiver.says(study), await receiver.says(study, DEVICES)] == [WITHDRAWN, said(4)]
        await system.tell(study.not_analysed(8, NotAnalysedReason.ORDER_CANCELLED, service=DEVICES), beside)
        assert [await receiver.says(study), await receiver.says(study, DEVICES)] == [WITHDRAWN, WITHDRAWN]

    async def test_a_receiver_that_is_away_is_told_when_it_is_back(
        self, system: ReportingSystem, receiver: Receiver, study: Study
    ) -> None:
        async with receiver.away():
            with pytest.raises(Unavailable) as raised:
                await system.tell(study.found(4), None)
            with pytest.raises(Unavailable):
                await system.probe()
        assert_no_patient(str(raised.value))
        assert await receiver.says(study) == NOTHING
        await system.probe()
        await system.tell(study.found(4), None)
        assert await receiver.says(study) == said(4)

    async def test_one_study_that_is_refused_holds_up_no_other(
        self, system: ReportingSystem, receiver: Receiver, study: Study
    ) -> None:
        other = await self.another(receiver)
        async with receiver.refusing(study):
            with pytest.raises((Refused, ItemNotServed, Rejected)) as raised:
                await system.tell(study.found(4), None)
            await system.probe()
            await system.tell(other.found(4), None)
        assert_no_patient(str(raised.value))
        assert [await receiver.says(study), await receiver.says(other)] == [NOTHING, said(4)]
        await system.tell(study.found(4), None)
        assert await receiver.says(study) == said(4)

    async def test_a_probe_leaves_no_trace(self, system: ReportingSystem, receiver: Receiver, study: Study) -> None:
        before = await receiver.holds(study)
        await system.probe()
        assert await receiver.holds(study) == before
        assert await receiver.says(study) == NOTHING


def assert_no_patient(error: str) -> None:
    """Those of `example_findings`."""
    assert "MRN" not in error

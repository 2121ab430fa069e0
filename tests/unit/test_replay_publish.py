"""What a replay said becomes what receivers are told: where nothing stands against it, once, and as an answer like any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from schemas.acts import ReplayPublished
from schemas.errors import SettingsInvalid
from schemas.events import ReportSigned
from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import AccessionNumber, PatientIdentifier
from schemas.ports import Outgoing, Place, Record
from schemas.renderings.dicom.document import document_of
from schemas.renderings.dicom.instance import series
from schemas.renderings.hl7oru import oru_messages
from schemas.renderings.hl7oruterms import OruTerms
from streams.replay.changes import Tolerance
from streams.replay.differing import Diff, differences
from streams.replay.diffing import Compared
from streams.replay.publishing import Approval, Publication, audited_acts, claimed, publications, publish, published_id
from streams.replay.said import Side
from streams.sequences import AFTER_VERIFICATION, RECALLED
from tests.contract import example_findings as example
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.oru_ris import Ris
from tests.unit import answers
from tests.unit.cases import Hospital, minutes, reason, recall, report, study
from tests.unit.cases import said as said_in
from tests.unit.receiver import Receiver
from tests.unit.replays import HERE, NAME, OTHER_MODEL, outgoing, said, uid

SANDBOX = f"sandbox.{NAME}.ai.results"
WHO = Approval("Dr B", "version 2 finds what 1 missed")
NOW = said(1, [HERE], model=OTHER_MODEL)


class At:
    """A clock."""

    def __init__(self, at: float = 60) -> None:
        self.at = at

    def now(self) -> datetime:
        return minutes(self.at)


class Log(FakeEventLog):
    """With what was said live and in the replay."""

    def __init__(self) -> None:
        super().__init__("ai.results", SANDBOX)
        self.create("radstream.audit", partitions=1)
        #: before the next act is written
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def live(self, *several: Findings) -> None:
        await self.append([outgoing(one) for one in several])

    async def replayed(self, *several: Findings) -> None:
        await self.append([outgoing(one, SANDBOX) for one in several])

    def results(self) -> list[Findings]:
        return [Findings.model_validate_json(record.value) for record in self.records("ai.results")]

    def acts(self) -> list[ReplayPublished]:
        return [ReplayPublished.model_validate_json(record.value) for record in self.records("radstream.audit")]

    def compared(self) -> Compared:
        then, now = Side(), Side()
        for topic, side in (("ai.results", then), (SANDBOX, now)):
            for record in self.records(topic):
                side.result(record)
        return Compared(Diff("now", "then", differences(then, now, Tolerance())), then, now)

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
        if self.meanwhile is not None and records and records[0].topic == "radstream.audit":
            happens, self.meanwhile = self.meanwhile, None
            await happens()
        return await super().append(records)

    async def publishes(
        self, *studies: int, clock: At | None = None, recalled: Any = None, replay: str = NAME, who: Approval = WHO
    ) -> Publication:
        """Of one study, or of the one that changed."""
        chosen = frozenset(str(uid(number)) for number in studies) or None
        claims = claimed(await audited_acts(self))
        several = publications(replay, self.compared(), chosen, recalled or {}, Tolerance(), claims)
        (one,) = await publish(self, replay, several, who, clock or At())
        return one


@pytest.fixture
def log() -> Log:
    return Log()


async def test_it_is_told_of_the_study_as_it_stands_and_the_audit_knew_before(log: Log) -> None:
    standing = said(1, messages=())
    await log.live(standing)
    await log.replayed(NOW)
    await log.publishes(1)
    _, told = log.results()
    assert told.analysis_id == published_id(NAME, NOW) != NOW.analysis_id
    assert told.subject == standing.subject.model_copy(update={"sequence": 19, "triggered_at": minutes(60)})
    assert (told.findings, told.images, told.model) == (NOW.findings, NOW.images, OTHER_MODEL)
    (act,) = log.acts()
    assert (act.by, act.reason, act.replay, act.replaced, act.sequence) == (WHO.by, WHO.reason, NAME, 16, 19)
    assert (act.analysis_id, act.study_instance_uid, act.time) == (told.analysis_id, uid(1), minutes(60))
    record = log.records("ai.results")[1]
    (cause,) = log.records(SANDBOX)
    assert record.header("cause") == str(cause.place)


async def test_again_it_changes_nothing(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(NOW)
    await log.publishes()
    before = log.results(), log.acts()
    one = await log.publishes(clock=At(99))
    assert (one.nothing, log.results(), log.acts()) == ("was published before", *before)


async def test_what_was_cut_off_after_the_act_is_finished_to_the_same_bytes(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(NOW)
    await log.publishes()
    told = log.records("ai.results")[1]
    partition = log.topics["ai.results"][told.place.partition]
    partition.remove(told)
    await log.publishes(clock=At(99))
    again = log.records("ai.results")[1]
    assert (again.value, again.headers, len(log.acts())) == (told.value, told.headers, 1)


async def test_who_finishes_what_another_began_is_on_the_audit_too(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(NOW)
    await log.publishes()
    told = log.records("ai.results")[1]
    log.topics["ai.results"][told.place.partition].remove(told)
    await log.publishes(clock=At(99), who=Approval("Dr C", "it was cut off"))
    again = log.records("ai.results")[1]
    assert (again.value, again.headers) == (told.value, told.headers), "the first act is what the state is made of"
    assert [(act.by, act.reason, act.sequence) for act in log.acts()] == [(WHO.by, WHO.reason, 19), ("Dr C", "it was cut off", 19)]
    assert len({act.id for act in log.acts()}) == 2


async def test_a_second_replay_stands_above_the_first_and_a_fifth_has_no_number(log: Log) -> None:
    await log.live(said(1))
    numbers = []
    for n in range(1, 6):
        log.topics[SANDBOX] = [[], [], [], []]
        await log.replayed(said(1, [HERE] * n, sequence=16))
        numbers.append((await log.publishes(1, replay=f"r{n}")).sequence)
    assert numbers == [19, 22, 25, 28, 0]
    assert [one.subject.sequence for one in log.results()] == [16, 19, 22, 25, 28]


async def test_of_two_replays_that_are_published_at_once_the_first_act_has_the_number(log: Log) -> None:
    """Whoever is second is told, and stands above the first when that is asked for again."""
    await log.live(said(1))
    await log.replayed(NOW)

    async def other() -> None:
        assert (await log.publishes(1, replay="other")).sequence == 19

    log.meanwhile = other
    one = await log.publishes(1)
    assert one.refused.startswith("another replay was published in this place at the same moment")
    assert [(told.subject.sequence, told.analysis_id) for told in log.results()[1:]] == [(19, published_id("other", NOW))]
    log.topics[SANDBOX] = [[], [], [], []]
    await log.replayed(said(1, [HERE, (900.0, 900.0, 50.0, 50.0)]))
    assert (await log.publishes(1)).sequence == 22


async def test_a_number_that_another_was_given_and_never_used_is_passed_over(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(NOW)
    await log.publishes(1, replay="other")
    told = log.records("ai.results")[1]
    log.topics["ai.results"][told.place.partition].remove(told)
    assert (await log.publishes(1)).sequence == 22
    assert [one.subject.sequence for one in log.results()] == [16, 22]


async def test_the_same_replay_published_by_two_at_once_is_told_in_the_same_bytes(log: Log) -> None:
    await log.live(said(1))
    await log.replayed(NOW)

    async def other() -> None:
        await log.publishes(1, clock=At(30))

    log.meanwhile = other
    assert (await log.publishes(1, clock=At(60))).sequence == 19
    _, one, same = log.records("ai.results")
    assert (one.key, one.value, one.headers) == (same.key, same.value, same.headers)
    assert len(log.acts()) == 2, "both have approved it"


@pytest.mark.parametrize(
    ("standing", "sequence"),
    [
        (said(1, sequence=17, verified_at=minutes(0)), 19),
        (said(1, sequence=18, reason=NotAnalysedReason.MODEL_RECALLED), 19),
        (said(1, sequence=20, verified_at=minutes(0)), 22),
        (said(1, sequence=21, reason=NotAnalysedReason.MODEL_RECALLED), 22),
        (said(1, reason=NotAnalysedReason.WRONG_VIEW), 19),
    ],
)
async def test_it_stands_above_whatever_was_said_of_the_answer(log: Log, standing: Findings, sequence: int) -> None:
    await log.live(said(1), standing)
    await log.replayed(NOW)
    assert (await log.publishes(1)).sequence == sequence


async def test_what_is_told_is_never_older_than_what_it_replaces(log: Log) -> None:
    """Whatever the clock of whoever publishes."""
    await log.live(said(1, minutes=90))
    await log.replayed(NOW)
    await log.publishes(1)
    assert log.results()[1].subject.triggered_at == minutes(90)


async def test_that_it_came_after_verification_is_for_correlate_to_say(log: Log) -> None:
    await log.live(said(1), said(1, sequence=17, verified_at=minutes(1)))
    await log.replayed(said(1, [HERE], sequence=17, verified_at=minutes(1)))
    await log.publishes(1)
    told = log.results()[-1]
    assert (told.verified_at, told.subject.sequence) == (None, 19)


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


# ------------------------------------------------------------------------------------------------ as an answer like any other


async def published_in(hospital: Hospital, log: Log) -> tuple[Findings, Record]:
    """A study that was requested, answered with nothing found, and of which a replay with another model found something."""
    request = await answers.requested(hospital)
    answer = replace_findings(answers.answer_to(request), findings=())
    await log.live(answer)
    assert await hospital.reads(answers.record(answers.result(answer), at=3)) == []
    found = replace_findings(answers.answer_to(request), model=OTHER_MODEL)
    await log.replayed(found)
    (one,) = publications(NAME, log.compared(), None, {}, Tolerance())
    await publish(log, NAME, [one], WHO, At(4))
    record = replace(log.records("ai.results")[1], timestamp=minutes(5))
    return Findings.model_validate_json(record.value), record


def replace_findings(of: Findings, **changed: Any) -> Findings:
    return Findings(**(dict(of) | changed))


async def test_its_recall_withdraws_it(hospital: Hospital, log: Log) -> None:
    told, record = await published_in(hospital, log)
    assert await hospital.reads(record) == []
    await hospital.happens(recall(OTHER_MODEL.name, OTHER_MODEL.version, at=9))
    (out,) = await hospital.reads(record)
    withdrawn = said_in(out)
    assert isinstance(withdrawn, Findings)
    assert reason(withdrawn) is NotAnalysedReason.MODEL_RECALLED
    assert withdrawn.subject.sequence == told.subject.sequence + RECALLED
    receiver = Receiver(hospital)
    await receiver.hears(out, answers.result(told))
    assert (receiver.report["status"], receiver.live) == ("cancelled", 0)


async def test_the_recall_of_what_it_replaced_does_not(hospital: Hospital, log: Log) -> None:
    told, record = await published_in(hospital, log)
    await hospital.reads(record)
    await hospital.happens(recall(example.MODEL.name, example.MODEL.version, at=9))
    (answer, *_) = log.results()
    (out,) = [one for one in await hospital.reads(answers.record(answers.result(answer), at=3)) if one.topic == "ai.results"]
    receiver = Receiver(hospital)
    await receiver.hears(answers.result(told), out)
    assert receiver.report["status"] == "partial"


async def test_after_he_verified_it_is_marked_and_a_person_is_asked_to_look(hospital: Hospital, log: Log) -> None:
    told, record = await published_in(hospital, log)
    await hospital.happens(report(ReportSigned, accession="A1", at=4))
    outs = await hospital.reads(record)
    assert sorted(out.topic for out in outs) == ["ai.discrepancies", "ai.results"]
    marked = next(said_in(out) for out in outs if out.topic == "ai.results")
    assert isinstance(marked, Findings)
    assert marked.subject.sequence == told.subject.sequence + AFTER_VERIFICATION
    assert (marked.findings, marked.verified_at is not None) == (told.findings, True)


async def test_what_correlate_decides_next_stands_above_it(hospital: Hospital, log: Log) -> None:
    told, record = await published_in(hospital, log)
    await hospital.reads(record)
    (again,) = await hospital.happens(study(at=7, images=2))
    assert said_in(again).subject.sequence > told.subject.sequence + 2


def test_a_ris_and_an_archive_hold_it_in_the_place_of_what_they_held() -> None:
    standing = said(1, [HERE, (900.0, 900.0, 50.0, 50.0)])
    told = replace_findings(NOW, analysis_id=published_id(NAME, NOW), subject=said(1, sequence=19).subject)
    ris, fresh = Ris(), Ris()
    for message in (*oru_messages(standing, None, OruTerms()), *oru_messages(told, standing, OruTerms())):
        ris.take(message)
    for message in oru_messages(told, None, OruTerms()):
        fresh.take(message)
    ((filler, report),) = ris.reports.items()
    assert report.results() == fresh.reports[filler].results()
    old, new = document_of(standing), document_of(told)
    assert (old.series_instance_uid, old.sop_instance_uid != new.sop_instance_uid) == (new.series_instance_uid, True)
    assert series("SR", "", new, told)["instance_number"] == 19

"""What was published is an answer like any other: it is recalled, marked after verification, replaced, and rendered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.events import ReportSigned
from schemas.findings import Findings, NotAnalysedReason
from schemas.ports import Record
from schemas.renderings.dicom.document import document_of
from schemas.renderings.dicom.instance import series
from schemas.renderings.hl7oru import oru_messages
from schemas.renderings.hl7oruterms import OruTerms
from streams.replay.changes import Tolerance
from streams.replay.publishing import publications, publish, published_id
from streams.sequences import AFTER_VERIFICATION, RECALLED
from tests.contract import example_findings as example
from tests.contract.oru_ris import Ris
from tests.unit import answers
from tests.unit.cases import Hospital, minutes, reason, recall, report, study
from tests.unit.cases import said as said_in
from tests.unit.published_replays import NOW, WHO, At, Log, replace_findings
from tests.unit.receiver import Receiver
from tests.unit.replays import HERE, NAME, OTHER_MODEL, said


@pytest.fixture
def log() -> Log:
    return Log()


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

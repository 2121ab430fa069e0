"""The timeline: one line for each record, without patient data."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid5

import pytest

from connectors.case_store import SqlCaseStore
from schemas.errors import MalformedMessage, UnsupportedMessage
from schemas.events import DeliveryAcknowledged, OrderStatus, Priority, ReportAmended, ReportDrafted, ReportEvent, ReportSigned
from schemas.identifiers import NAMESPACE, StudyInstanceUID
from schemas.ports import Outgoing, Place, Record
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.references import report_id
from streams.case_state import Policy
from streams.emission import emit
from streams.sequences import next_after
from streams.steps.deliver import deliver
from streams.steps.project import TOPICS, project
from streams.study_settings import NewsSettings
from streams.topics import DELIVERIES, REPORTS
from tests.contract.example_findings import DEVICES, SITE, STUDY, devices_alone, every_state, two_findings
from tests.contract.fake_report_store import FakeReportStore
from tests.unit.cases import Hospital, minutes, order, record_of, said, study


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlCaseStore]:
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    yield store
    await store.close()


def written(out: Outgoing, offset: int, at: float) -> Record:
    return Record(Place(out.topic, 0, offset), out.key, out.value, out.headers, minutes(at))


def report(kind: type[ReportEvent]) -> ReportEvent:
    placed = order(placer="P1", accession="A1")
    return kind(
        id=uuid5(NAMESPACE, kind.TYPE),
        time=minutes(6),
        sender=placed.sender,
        accession_number=placed.accession_number,
        patients=placed.patients,
        text="DOE^JANE 4711: no nodule",
    )


async def test_the_walk_of_a_case(store: SqlCaseStore) -> None:
    hospital = Hospital(store)
    placed = order(placer="P1", accession="A1", priority=Priority.STAT)
    done = study(at=1)
    await hospital.happens(placed)
    (request,) = await hospital.happens(done)
    (refused,) = await hospital.happens(order(placer="P1", accession="A1", at=4, status=OrderStatus.CANCELLED))
    delivery = DeliveryAcknowledged(
        id=uuid5(NAMESPACE, "d"),
        time=minutes(5),
        destination="fhir",
        study_instance_uid=StudyInstanceUID("1.2.3"),
        analysis_id=uuid5(NAMESPACE, "a"),
        sequence=3,
        outcome="stored",
        acknowledgement="DiagnosticReport/x/_history/1",
    )
    letter = tuple(
        (name, value.encode())
        for name, value in (("topic", "ai.requests.stat"), ("partition", "3"), ("offset", "7"), ("step", "analyse"), ("error", "X"))
    )
    records = [
        record_of(placed, 1),
        record_of(done, 1),
        written(request, 1, 2),
        Record(Place("radstream.dead-letters", 0, 5), b"1.2.3", b"\xff", letter, minutes(3)),
        written(refused, 1, 4),
        Record(Place("ai.findings", 0, 1), b"1.2.3", bundle_of(two_findings(), SITE), (), minutes(4.5)),
        written(emit(DELIVERIES, "fhir|1.2.3", delivery, None), 1, 5),
        written(emit(REPORTS, "A1^RIS", report(ReportSigned), None), 1, 6),
    ]
    for record in [*records, *records]:
        assert await project(record, cases=store) == ()
    entries = await store.timeline("A1")
    asked = said(request).subject.sequence
    assert [(entry.place, entry.what) for entry in entries] == [
        (records[0].place, "order placed, STAT"),
        (records[1].place, f"study complete, 1 image, revision {done.revision[:8]}, said orthanc:changes"),
        (records[2].place, f"analysis requested, state {asked}, 1 order, STAT"),
        (records[3].place, "dead letter of ai.requests.stat/3/7: X in analyse"),
        (records[4].place, f"result, state {next_after(asked)}, not analysed: order-cancelled (The order was cancelled)"),
        (records[5].place, "report rendered as FHIR"),
        (records[6].place, "stored at fhir, state 3, DiagnosticReport/x/_history/1"),
        (records[7].place, "radiologist's report signed"),
    ]
    assert [entry.at for entry in entries] == [record.timestamp for record in records]
    assert not any("4711" in entry.what for entry in entries)
    elsewhere = {"ai.requests", "ai.requests.bulk", "ai.discrepancies", "imaging.patients"}
    assert {record.place.topic for record in records} == set(TOPICS) - elsewhere


async def test_what_is_told_to_nobody_says_so(store: SqlCaseStore) -> None:
    prior = study(at=1, taken=minutes(0).date() - timedelta(days=400), sent_by="PRIORS")
    hospital = Hospital(store, Policy(news=NewsSettings(age_limit_days=7)))
    await hospital.happens(order(placer="P1", accession="A1"))
    (request,) = await hospital.happens(prior)
    (refused,) = await hospital.happens(order(placer="P1", accession="A1", at=4, status=OrderStatus.CANCELLED))
    for record in (record_of(prior, 1), written(request, 1, 2), written(refused, 1, 4)):
        await project(record, cases=store)
    asked = said(request).subject.sequence
    assert [entry.what for entry in await store.timeline("A1")] == [
        f"study complete, 1 image, revision {prior.revision[:8]}, said orthanc:changes, sent by PRIORS, 400 days old",
        f"analysis requested, state {asked}, 1 order, for ourselves only",
        f"result, state {next_after(asked)}, not analysed: order-cancelled (The order was cancelled), for ourselves only",
    ]


async def test_a_late_message_says_of_when_it_is(store: SqlCaseStore) -> None:
    late = order(placer="P1", accession="A1", at=1, changed=True).model_copy(update={"time": minutes(90)})
    await project(record_of(late), cases=store)
    (entry,) = await store.timeline("A1")
    assert entry.what == f"order changed: placed, as of {minutes(1).isoformat(sep=' ', timespec='seconds')}"


async def test_what_a_merge_or_unlink_led_to_says_so(store: SqlCaseStore) -> None:
    hospital = Hospital(store)
    await hospital.happens(order(placer="P1", accession="A1"))
    (request,) = await hospital.happens(study(at=1))
    caused = tuple((name, b"imaging.patients/1/3" if name == "cause" else value) for name, value in request.headers)
    await project(Record(Place(request.topic, 0, 1), request.key, request.value, caused, minutes(2)), cases=store)
    (entry,) = await store.timeline("A1")
    assert entry.what == f"analysis requested, state {said(request).subject.sequence}, 1 order, after imaging.patients/1/3"


async def test_reports_without_their_text(store: SqlCaseStore) -> None:
    kinds = (ReportDrafted, ReportSigned, ReportAmended)
    for offset, kind in enumerate(kinds):
        await project(written(emit(REPORTS, "A1^RIS", report(kind), None), offset, offset), cases=store)
    said = [entry.what for entry in await store.timeline("A1")]
    assert said == [f"radiologist's report {what}" for what in ("drafted", "signed", "amended")]


async def test_a_report_of_an_unknown_version(store: SqlCaseStore) -> None:
    out = emit(REPORTS, "A1^RIS", report(ReportSigned), None)
    newer = tuple((name, b"org.radstream.report.signed.v9" if name == "ce_type" else value) for name, value in out.headers)
    with pytest.raises(UnsupportedMessage):
        await project(Record(Place(out.topic, 0, 1), out.key, out.value, newer, minutes(0)), cases=store)


@pytest.mark.parametrize("topic", ["imaging.orders", "imaging.reports"])
async def test_a_dead_order_is_shown_under_its_accession_number(store: SqlCaseStore, topic: str) -> None:
    letter = Record(Place("radstream.dead-letters", 0, 1), b"A1^RIS", b"", (("topic", topic.encode()),), minutes(0))
    await project(letter, cases=store)
    (entry,) = await store.timeline("A1")
    assert entry.what == f"dead letter of {topic}/?/?: ? in ?"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("present", "result, state 1, 2 findings"),
        ("devices-and-nodule", "result, state 1, 1 finding, 2 of 4 outputs present"),
        ("devices-and-no-nodule", "result, state 1, no finding, 2 of 4 outputs present"),
        ("measure-and-nodule", "result, state 1, 1 finding, 1 measure"),
        ("outputs-of-the-usual-service", "result, state 1, 2 of 4 outputs present"),
        ("devices-alone", f"result of {DEVICES}, state 1, 2 of 4 outputs present"),
        ("measure-alone", f"result of {DEVICES}, state 1, 1 measure"),
        ("not-analysed-by-another-service", f"result of {DEVICES}, state 1, not analysed: wrong-view (the words of the step)"),
    ],
)
async def test_what_a_model_said(store: SqlCaseStore, name: str, what: str) -> None:
    of = every_state()[name]
    value = of.model_dump_json().encode()
    await project(Record(Place("ai.results", 0, 1), STUDY.encode(), value, (), minutes(1)), cases=store)
    (entry,) = await store.timeline("A 7001|x")
    assert entry.what == what


async def test_the_walk_of_a_report_beside_the_usual_one(store: SqlCaseStore) -> None:
    of = devices_alone()
    result = Record(Place("ai.results", 0, 1), STUDY.encode(), of.model_dump_json().encode(), (), minutes(1))
    found = Record(Place("ai.findings", 0, 1), STUDY.encode(), bundle_of(of, SITE), (), minutes(2))
    (delivered,) = await deliver(found, destination="fhir", store=FakeReportStore(), cases=store)
    for record in (result, found, written(delivered, 1, 3)):
        await project(record, cases=store)
    report = f"DiagnosticReport/{report_id(STUDY, SITE, DEVICES)}"
    assert [entry.what for entry in await store.timeline("A 7001|x")] == [
        f"result of {DEVICES}, state 1, 2 of 4 outputs present",
        f"report of {DEVICES} rendered as FHIR",
        f"stored at fhir#{DEVICES}, state 1, {report}/_history/1",
    ]


@pytest.mark.parametrize("topic", sorted(set(TOPICS) - {"radstream.dead-letters"}))
async def test_a_broken_value(store: SqlCaseStore, topic: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        await project(Record(Place(topic, 0, 1), b"", b'{"patient": "DOE^JANE"}', (), minutes(0)), cases=store)
    assert "DOE" not in str(caught.value)


async def test_a_topic_that_no_view_shows(store: SqlCaseStore) -> None:
    with pytest.raises(UnsupportedMessage):
        await project(Record(Place("hl7.v2.raw", 0, 1), b"", b"", (), minutes(0)), cases=store)

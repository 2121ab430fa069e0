"""What was known of a case at a moment: by the time of the log, from the records that are still there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from connectors.case_store import SqlCaseStore
from schemas.discrepancies import DiscrepancyAcknowledged, DiscrepancyOpened
from schemas.errors import BrokerUnavailable, MalformedMessage, SettingsInvalid
from schemas.events import ReportAmended, ReportDrafted, ReportEvent, ReportSigned
from schemas.findings import Findings
from schemas.hl7v2.site import Site
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.case_state import Policy
from streams.cases.known import Known, known_then
from streams.cases.linked import case_of
from streams.cases.page import lines, plain
from streams.cases.then import show_case_then
from streams.dead_letter import dead_letter
from streams.deliveries import delivered
from streams.demo.orders import order_for
from streams.emission import emit, emit_findings
from streams.sequences import next_after
from streams.settings import Settings
from streams.steps.correlate import correlate
from streams.steps.normalise import normalise
from streams.steps.project import TOPICS, project
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit import discrepancies
from tests.unit.answers import answer_to
from tests.unit.cases import minutes, person, report, study

SITE = Site(default_assigner="RIS")
UID = "1.2.3"
FIRST, SECOND = next_after(0), next_after(next_after(0))
NOW = minutes(999)


class Engine:
    """The steps one after the other, each record at the minute that it is given; a message and what it leads to a little apart."""

    def __init__(self, cases: SqlCaseStore) -> None:
        self.cases = cases
        self.log = FakeEventLog(*(topic.name for topic in topics.ALL))
        self.history = FakeHistory(self.log)

    async def write(self, at: float, out: Outgoing) -> Record:
        (place,) = await self.log.append([out])
        partition = self.log.topics[place.topic][place.partition]
        partition[-1] = record = replace(partition[-1], timestamp=minutes(at))
        if out.topic in TOPICS:
            await project(record, cases=self.cases)
        return record

    async def message(self, at: float, raw: bytes, *, used: float | None = None) -> Record:
        """`used`: when what is made of it is written."""
        record = await self.write(at, Outgoing(topics.HL7_RAW.name, b"HIS|HOSPITAL", raw))
        for out in await normalise(record, site=SITE):
            await self.reads(at + 0.1 if used is None else used, out)
        return record

    async def reads(self, at: float, out: Outgoing) -> Record:
        """It is written, and correlated."""
        record = await self.write(at, out)
        for led_to in await correlate(record, cases=self.cases, policy=Policy()):
            await self.write(at + 0.1, led_to)
        return record

    async def then(self, at: float, accession: str = "A1") -> Known:
        return await known_then(await case_of(accession, self.cases), self.history, minutes(at), SITE)

    def last(self, topic: topics.Topic) -> Record:
        return max(self.log.records(topic.name), key=lambda record: record.timestamp)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    yield Engine(store)
    await store.close()


def order(at: float, order_control: str = "NW", control_id: str = "MSG1", accession: str | None = "A1", **more: str) -> bytes:
    more = {"control_id": control_id, "order_control": order_control, **more}
    return order_for(accession, patient="4711", assigner="RIS", at=minutes(at), **more)


def words(known: Known, section: str) -> list[str]:
    return [item.words(lambda at: f"{at:%H:%M}") for item in known.sections[section]]


async def analysed(engine: Engine) -> None:
    """Order at minute 0, study at 2, answer at 3, delivered at 4."""
    await engine.message(0, order(0))
    await engine.reads(2, emit(topics.STUDIES, UID, study(accession="A1", at=2, patient=person("4711", "RIS")), None))
    request = engine.last(topics.REQUESTS)
    findings = answer_to(Outgoing(request.place.topic, request.key, request.value, request.headers))
    answer = await engine.reads(3, emit_findings(findings, request))
    number, uid = findings.subject.sequence, StudyInstanceUID(UID)
    held = delivered(answer, "fhir", uid, findings.analysis_id, number, minutes(4), "stored", "DiagnosticReport/1/_history/1")
    await engine.write(4, held)


async def test_each_section_holds_what_stood_on_the_log_by_then(engine: Engine) -> None:
    await analysed(engine)
    await engine.message(6, order(6, "CA", "MSG2"))

    early = await engine.then(1)
    (message,) = words(early, "messages")
    assert message == "ORM^O01 MSG1 from HIS|HOSPITAL"
    (placed,) = early.sections["orders"]
    assert words(early, "orders")[0].startswith("placed: placer PL-A1^RIS")
    assert str(placed.place) == str(engine.log.records(topics.ORDERS.name)[0].place)
    assert [early.sections[name] for name in ("studies", "findings", "deliveries", "reports", "dead letters")] == [()] * 5
    assert (early.studies, early.next_at) == ((), minutes(2))

    asked = await engine.then(2.5)
    assert words(asked, "studies") == [f"study {UID}, 1 image, revision {study().revision[:8]}, says orthanc:changes"]
    assert words(asked, "findings") == [f"analysis requested, state {FIRST}, 1 order: no answer had come"]

    answered = await engine.then(3.5)
    (answer,) = words(answered, "findings")
    assert answer.startswith(f"result, state {FIRST}, 2 findings, model ")
    assert answered.sections["deliveries"] == ()

    held = await engine.then(5)
    assert words(held, "deliveries") == [f"fhir holds state {FIRST} of study {UID} (DiagnosticReport/1/_history/1)"]

    withdrawn = await engine.then(7)
    assert len(withdrawn.sections["messages"]) == 2
    assert words(withdrawn, "orders")[0].startswith("cancelled: placer PL-A1^RIS")
    first, second = words(withdrawn, "findings")
    assert first.endswith(", replaced since")
    assert second.startswith(f"result, state {SECOND}, not analysed: order-cancelled")
    assert words(withdrawn, "deliveries") == [
        f"fhir holds state {FIRST} of study {UID} (DiagnosticReport/1/_history/1), a newer one was said"
    ]
    assert (withdrawn.later, withdrawn.next_at) == (0, None)


async def test_what_was_known_does_not_depend_on_what_came_later(engine: Engine) -> None:
    await analysed(engine)
    before = await engine.then(5)
    await engine.message(6, order(6, "CA", "MSG2"))
    assert (await engine.then(5)).sections == before.sections


async def test_that_a_state_was_published_from_a_replay_is_said(engine: Engine) -> None:
    await analysed(engine)
    answer = engine.last(topics.RESULTS)
    told = Findings.model_validate_json(answer.value)
    published = told.model_copy(update={"subject": told.subject.model_copy(update={"sequence": FIRST + 3})})
    of = replace(answer, place=Place("sandbox.last-week.ai.results", 0, 4))
    await engine.write(5, emit_findings(published, of))
    _, line = words(await engine.then(6), "findings")
    assert line.startswith(f"result, state {FIRST + 3}, ")
    assert line.endswith(", published from the replay last-week")


async def test_then_is_when_the_log_knew_not_what_a_message_speaks_of(engine: Engine) -> None:
    """A downtime: what happened at minute 1 came at minute 30."""
    await engine.message(0, order(0))
    await engine.message(30, order(1, "CA", "LATE"))
    assert words(await engine.then(29), "orders")[0].startswith("placed")
    (cancelled,) = words(await engine.then(31), "orders")
    assert cancelled.startswith("cancelled")
    assert cancelled.endswith(" as of 12:01")


async def test_an_older_word_that_came_late_changes_no_order(engine: Engine) -> None:
    await engine.message(0, order(5, "CA", "MSG2"))
    await engine.message(10, order(1, "NW", "MSG1"))
    (cancelled,) = (await engine.then(11)).sections["orders"]
    assert cancelled.at == minutes(0.1)
    assert words(await engine.then(11), "orders")[0].startswith("cancelled")


async def test_a_message_had_come_before_anything_was_made_of_it(engine: Engine) -> None:
    await engine.message(0, order(0))
    await engine.message(5, order(5, "CA", "MSG2"), used=8)
    known = await engine.then(6)
    assert [line.endswith(", not used yet") for line in words(known, "messages")] == [False, True]
    assert words(known, "orders")[0].startswith("placed")
    assert not any(line.endswith(", not used yet") for line in words(await engine.then(9), "messages"))


async def test_two_orders_of_one_accession_number(engine: Engine) -> None:
    await engine.message(0, order(0, placer="PL-A"))
    await engine.message(1, order(1, placer="PL-B", control_id="MSG2"))
    await engine.message(2, order(2, "CA", "MSG3", placer="PL-A"))
    states = [line.partition(",")[0] for line in words(await engine.then(3), "orders")]
    assert sorted(states) == ["cancelled: placer PL-A^RIS", "placed: placer PL-B^RIS"]


async def test_an_order_that_was_held_without_an_accession_number_was_known(engine: Engine) -> None:
    await engine.message(0, order(0, accession=None, placer="PL-A"))
    await engine.message(1, order(1, accession=None, placer="PL-OTHER", control_id="MSG2"))
    await engine.message(5, order(5, "SC", "MSG3", placer="PL-A"))
    assert words(await engine.then(0.5), "messages") == ["ORM^O01 MSG1 from HIS|HOSPITAL"]
    assert words(await engine.then(3), "orders") == ["placed: placer PL-A^RIS, says HIS|HOSPITAL as of 12:00"]
    (one,) = words(await engine.then(6), "orders")
    assert one.startswith("placed: placer PL-A^RIS, accession number A1^RIS")


async def test_a_placer_order_number_that_many_orders_share_leads_to_none_of_them(engine: Engine) -> None:
    await engine.message(0, order(0, accession="A2", placer="ALL"))
    await engine.message(1, order(1, placer="ALL", control_id="MSG2"))
    assert words(await engine.then(2), "messages") == ["ORM^O01 MSG2 from HIS|HOSPITAL"]


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ([(ReportDrafted, 1, 1)], "drafted"),
        ([(ReportDrafted, 1, 1), (ReportSigned, 2, 2)], "signed"),
        ([(ReportSigned, 1, 2), (ReportDrafted, 2, 1)], "signed"),  # the draft is older, and came late
        ([(ReportSigned, 1, 1), (ReportAmended, 2, 2)], "amended"),
    ],
)
async def test_the_report(engine: Engine, told: Sequence[tuple[type[ReportEvent], float, float]], state: str) -> None:
    for kind, at, occurred in told:
        event = report(kind, accession="A1", at=at, occurred=occurred)
        await engine.write(at, emit(topics.REPORTS, "A1^RIS", event, None))
    (line,) = words(await engine.then(5), "reports")
    assert line.startswith(f"report {state}, says RIS|F as of 12:0")
    assert line.endswith(", sent 2 times") == (len(told) == 2)
    assert (await engine.then(0)).nothing


async def test_a_discrepancy_and_who_looked_at_it(engine: Engine) -> None:
    opened = discrepancies.event(DiscrepancyOpened)
    looked = discrepancies.event(DiscrepancyAcknowledged, acknowledged_by="Dr DOE", reason="JANE is well")
    for at, event in ((1, opened), (2, looked)):
        await engine.write(at, discrepancies.outgoing(event))
    line = f"{opened.discrepancy_id}, study {opened.study_instance_uid}"
    assert words(await engine.then(1), "discrepancies") == [f"open: {line}"]
    assert words(await engine.then(2), "discrepancies") == [f"acknowledged: {line}"]


async def test_a_dead_letter(engine: Engine) -> None:
    record = await engine.write(1, emit(topics.REPORTS, "A1^RIS", report(ReportSigned, accession="A1"), None))
    await engine.write(2, dead_letter(record, "correlate", MalformedMessage("correlate", "x", "y"), 1))
    assert words(await engine.then(2), "dead letters") == [f"MalformedMessage in correlate, of {record.place}"]


async def test_what_retention_removed_is_named_and_the_rest_is_shown(engine: Engine) -> None:
    await analysed(engine)
    ordered = engine.last(topics.ORDERS).place
    engine.history.remove_before(ordered.topic, ordered.partition, ordered.offset + 1)
    raw = engine.last(topics.HL7_RAW).place
    known = await engine.then(5)
    assert words(known, "orders") == ["order placed [removed (retention)]"]
    assert known.sections["messages"] == (), "nothing leads to it any more"
    assert len(known.sections["findings"]) == 1
    assert plain("A1", minutes(5), known)["orders"][0]["removed"] is True

    engine.history.remove_before(ordered.topic, ordered.partition, 0)
    engine.history.remove_before(raw.topic, raw.partition, raw.offset + 1)
    known = await engine.then(5)
    assert words(known, "messages") == [f"led to {ordered} [removed (retention)]"]
    assert words(known, "orders")[0].startswith("placed")


async def test_a_topic_that_was_deleted_since_is_named_line_by_line_and_the_rest_is_shown(engine: Engine) -> None:
    await analysed(engine)
    del engine.log.topics[topics.DELIVERIES.name]
    known = await engine.then(5)
    (line,) = words(known, "deliveries")
    assert line.endswith("[removed (its topic is not there)]")
    assert len(known.sections["findings"]) == 1


async def test_a_broker_that_is_away_is_no_record_that_is_gone(engine: Engine) -> None:
    await analysed(engine)
    engine.log.away = True
    with pytest.raises(BrokerUnavailable):
        await engine.then(5)


async def test_a_record_of_another_version_is_named(engine: Engine) -> None:
    await analysed(engine)
    place = engine.last(topics.STUDIES).place
    partition = engine.log.topics[place.topic][place.partition]
    partition[place.offset] = replace(partition[place.offset], value=b'{"of": "later"}')
    (line,) = words(await engine.then(5), "studies")
    assert line.endswith("[this version cannot read it]")


async def test_the_page_says_by_which_times_and_in_the_zone_of_the_site(engine: Engine) -> None:
    await analysed(engine)
    moment = minutes(2.5).astimezone(ZoneInfo("Europe/Berlin"))
    shown = list(lines("A1", moment, await engine.then(2.5)))
    assert shown[0] == "accession number A1, as known at 2026-11-24 13:02:30.000+01:00"
    assert "not by the times it speaks of" in shown[1]
    assert "deliveries: none" in shown
    assert shown[-1] == "came later: 2 records, the first at 2026-11-24 13:03:00.000+01:00"
    assert any("imaging.orders/" in line and line.startswith("  2026-11-24 13:00:06.000+01:00") for line in shown)
    before = list(lines("A1", moment, await engine.then(-1)))
    assert "nothing was known" in before
    assert before[-1].startswith("came later: 5 records")


async def test_no_message_speaks_to_the_terminal(engine: Engine) -> None:
    await engine.message(0, order(0).replace(b"MSG1", "MSG\x1b[2J\x9b\u202e".encode()))
    shown = list(lines("A1", minutes(1), await engine.then(1)))
    assert any("MSG\ufffd[2J\ufffd\ufffd" in line for line in shown)
    assert all(line.isprintable() for line in shown)


async def test_nothing_of_the_patient_is_shown(engine: Engine) -> None:
    await analysed(engine)
    await engine.write(5, emit(topics.REPORTS, "A1^RIS", report(ReportSigned, accession="A1"), None))
    known = await engine.then(9)
    shown = json.dumps(plain("A1", minutes(9), known)) + "\n".join(lines("A1", minutes(9), known))
    assert "4711" not in shown


async def test_a_time_that_cannot_be_meant_is_a_wrong_setting_before_anything_is_looked_up() -> None:
    with pytest.raises(SettingsInvalid, match=r"--at: 'noon' is no time of ISO 8601"):
        await show_case_then(Settings(), "A1", "noon", Console(), as_json=False, by=None, reason="test")
    with pytest.raises(SettingsInvalid, match="--at: 9999-01-01 is still to come"):
        await show_case_then(Settings(), "A1", "9999-01-01", Console(), as_json=False, by=None, reason="test")

"""What was known of a case at a moment: by the time of the log, from the records that are still there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.case_store import SqlCaseStore
from schemas.discrepancies import DiscrepancyAcknowledged, DiscrepancyOpened
from schemas.errors import MalformedMessage
from schemas.events import ReportAmended, ReportDrafted, ReportEvent, ReportSigned
from schemas.findings import Findings
from schemas.ports import Place
from streams import topics
from streams.cases.items import Answer
from streams.dead_letter import dead_letter
from streams.emission import emit, emit_findings
from streams.replay.publishing import published_id
from tests.unit import discrepancies
from tests.unit.cases import minutes, report, study
from tests.unit.timed_engine import FIRST, SECOND, UID, Engine, analysed, order, words


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    yield Engine(store)
    await store.close()


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


async def test_and_so_it_is_of_its_mark_which_is_made_of_what_stands_on_the_live_log(engine: Engine) -> None:
    await analysed(engine)
    answer = engine.last(topics.RESULTS)
    told = Findings.model_validate_json(answer.value)
    said = {"analysis_id": published_id("last-week", told)}
    published = told.model_copy(update=said | {"subject": told.subject.model_copy(update={"sequence": FIRST + 3})})
    record = await engine.write(5, emit_findings(published, replace(answer, place=Place("sandbox.last-week.ai.results", 0, 4))))
    marked = {"subject": told.subject.model_copy(update={"sequence": FIRST + 4}), "verified_at": minutes(4)}
    await engine.write(6, emit_findings(published.model_copy(update=marked), record))
    first, *shown = (await engine.then(7)).sections["findings"]
    assert isinstance(first, Answer) and first.replay is None
    assert [(one.sequence, one.replay, one.stands) for one in shown if isinstance(one, Answer)] == [
        (FIRST + 3, "last-week", False),
        (FIRST + 4, "last-week", True),
    ]


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

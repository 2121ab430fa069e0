"""What is shown of a case at a moment: what is gone by name, times in the zone of the site, and nothing of the patient."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from connectors.case_store import SqlCaseStore
from schemas.errors import BrokerUnavailable, SettingsInvalid
from schemas.events import ReportSigned
from streams import topics
from streams.cases.page import lines, plain
from streams.cases.then import show_case_then
from streams.emission import emit
from streams.settings import Settings
from tests.unit.cases import minutes, report
from tests.unit.timed_engine import Engine, analysed, order, words


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    yield Engine(store)
    await store.close()


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

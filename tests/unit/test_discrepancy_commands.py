"""A person sees which discrepancies wait, and says that they were looked at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

import pytest
from rich.console import Console
from typer.testing import CliRunner

from schemas.acts import Looked
from schemas.discrepancies import (
    DiscrepancyAcknowledged,
    DiscrepancyEscalated,
    DiscrepancyEvent,
    DiscrepancyOpened,
    DiscrepancyWithdrawn,
)
from schemas.errors import BrokerUnavailable, SettingsInvalid
from schemas.identifiers import identity
from schemas.ports import Outgoing, Place
from streams import topics
from streams.acknowledging import Discrepancy, acknowledged, folded, read_discrepancies, show, to_be_shown
from streams.audit.acts import Actor
from streams.cli import app
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.discrepancies import event, outgoing, record
from tests.unit.packages import CLOCK

ID = identity("test-discrepancy", "1")
OPENED, ESCALATED = event(DiscrepancyOpened), event(DiscrepancyEscalated)
ACKNOWLEDGED = event(DiscrepancyAcknowledged, acknowledged_by="Dr A", reason="seen")
WITHDRAWN = event(DiscrepancyWithdrawn)
#: the same was found by a later analysis
AGAIN = OPENED.model_copy(update={"id": identity("again"), "analysis_id": identity("another analysis")})


@pytest.fixture
def log() -> FakeEventLog:
    log = FakeEventLog(topics.DISCREPANCIES.name)
    log.create(topics.AUDIT.name, partitions=1)
    return log


def fold(*events: DiscrepancyEvent) -> Discrepancy:
    known: dict[UUID, Discrepancy] = {}
    for offset, one in enumerate(events):
        folded(known, record(one, offset))
    (found,) = known.values()
    return found


@pytest.mark.parametrize(
    ("events", "state", "waits"),
    [
        ((OPENED,), "open", True),
        ((OPENED, ESCALATED), "escalated", True),
        ((OPENED, ACKNOWLEDGED), "acknowledged", False),
        ((OPENED, ESCALATED, ACKNOWLEDGED), "acknowledged", False),
        ((OPENED, ESCALATED, WITHDRAWN), "withdrawn", False),
        ((OPENED, ACKNOWLEDGED, WITHDRAWN), "acknowledged", False),
        ((OPENED, WITHDRAWN, AGAIN), "open", True),
        ((OPENED, WITHDRAWN, ACKNOWLEDGED, AGAIN), "acknowledged", False),
        ((OPENED, WITHDRAWN, ESCALATED), "withdrawn", False),
        ((OPENED, ACKNOWLEDGED, ESCALATED), "acknowledged", False),
    ],
)
def test_states(events: tuple[DiscrepancyEvent, ...], state: str, waits: bool) -> None:
    found = fold(*events)
    assert (found.state, found.needs_a_person) == (state, waits)
    assert fold(*events, *events) == found, "what is written again changes nothing"
    assert (found.acknowledged_by == "Dr A") is (ACKNOWLEDGED in events)


async def test_list(log: FakeEventLog, capsys: pytest.CaptureFixture[str]) -> None:
    await log.append([outgoing(one) for one in (event(DiscrepancyOpened, 2), OPENED, ESCALATED, event(DiscrepancyWithdrawn, 3))])
    await log.append([Outgoing(topics.DISCREPANCIES.name, b"x", b"{}", ())])
    found = list((await read_discrepancies(log)).values())
    show(found, Console(), as_json=True)
    first, second, third = json.loads(capsys.readouterr().out)
    assert (first["id"], first["state"], first["accession_number"]) == (str(ID), "escalated", "A1^RIS")
    assert first["verified_at"] == "2026-11-29T08:00:00+00:00"
    assert (second["state"], third["state"], third["opened_at"]) == ("open", "withdrawn", None)
    show(found, Console(width=300), as_json=False)
    out = capsys.readouterr().out
    assert str(ID) in out and OPENED.study_instance_uid in out and "escalated" in out
    show([], Console(), as_json=False)
    assert capsys.readouterr().out == "no discrepancy waits for a person\n"


async def test_it_is_audited_who_sees_which_before_any_is_shown(log: FakeEventLog) -> None:
    who = Actor("A. Lin", "the morning round")
    assert await to_be_shown(log, who, CLOCK, all_states=True) == []
    assert log.records(topics.AUDIT.name) == [], "nothing of a patient"
    await log.append([outgoing(one) for one in (OPENED, ESCALATED, event(DiscrepancyOpened, 2), event(DiscrepancyWithdrawn, 2))])
    (shown,) = await to_be_shown(log, who, CLOCK, all_states=False)
    (act,) = [Looked.model_validate_json(record.value) for record in log.records(topics.AUDIT.name)]
    assert (act.what, act.by, act.reason) == ("discrepancy list", who.by, who.reason)
    last = next(one for one in log.records(topics.DISCREPANCIES.name) if one.value == ESCALATED.model_dump_json().encode())
    assert act.places == (str(shown.place),) == (str(last.place),)
    del log.topics[topics.AUDIT.name]
    with pytest.raises(BrokerUnavailable):
        await to_be_shown(log, who, CLOCK, all_states=False)


async def test_acknowledge(log: FakeEventLog) -> None:
    await log.append([outgoing(OPENED), outgoing(event(DiscrepancyOpened, 2))])
    well, line = await acknowledged(log, str(ID)[:8].upper(), by=" Dr A", reason="seen ", clock=CLOCK)
    assert (well, line) == (True, f"{ID} is acknowledged by Dr A.")
    (audited,) = log.records(topics.AUDIT.name)
    told = [one for one in log.records(topics.DISCREPANCIES.name) if one.header("ce_type") == DiscrepancyAcknowledged.TYPE]
    assert [one.value for one in told] == [audited.value]
    assert told[0].key == OPENED.study_instance_uid.encode(), "read after what opened it"
    now = (await read_discrepancies(log))[ID]
    assert (now.state, now.acknowledged_by, now.reason) == ("acknowledged", "Dr A", "seen")
    assert await acknowledged(log, str(ID), by="Dr B", reason="too", clock=CLOCK) == (
        True,
        f"{ID} was acknowledged already, by Dr A: seen",
    )
    assert len(log.records(topics.AUDIT.name)) == 1


async def test_of_one_that_is_withdrawn_nothing_is_to_be_acknowledged(log: FakeEventLog) -> None:
    await log.append([outgoing(OPENED), outgoing(WITHDRAWN)])
    well, line = await acknowledged(log, str(ID), by="Dr A", reason="seen", clock=CLOCK)
    assert well and "is withdrawn" in line
    assert log.records(topics.AUDIT.name) == []


@pytest.mark.parametrize("id", ["ffffffff", "", str(ID)[:3], "no id at all"])
async def test_one_that_is_unknown(log: FakeEventLog, id: str) -> None:
    await log.append([outgoing(OPENED)])
    well, line = await acknowledged(log, id, by="Dr A", reason="seen", clock=CLOCK)
    assert not well and "radstream discrepancy list" in line
    assert log.records(topics.AUDIT.name) == []


@pytest.mark.parametrize(("by", "reason"), [(" ", "seen"), ("Dr A", ""), ("x" * 201, "seen"), ("Dr A", "x" * 1001)])
async def test_who_and_why_are_said(log: FakeEventLog, by: str, reason: str) -> None:
    await log.append([outgoing(OPENED)])
    with pytest.raises(SettingsInvalid, match="--by"):
        await acknowledged(log, str(ID), by=by, reason=reason, clock=CLOCK)
    assert log.records(topics.AUDIT.name) == []


async def test_what_was_audited_and_not_told_is_told_when_it_is_said_again() -> None:
    class Halfway(FakeEventLog):
        async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
            if records[0].topic == topics.DISCREPANCIES.name and len(self.records(topics.AUDIT.name)) == 1:
                raise BrokerUnavailable("append", topics.DISCREPANCIES.name, "the broker is away")
            return await super().append(records)

    log = Halfway(topics.DISCREPANCIES.name)
    log.create(topics.AUDIT.name, partitions=1)
    await log.append([outgoing(OPENED)])
    with pytest.raises(BrokerUnavailable):
        await acknowledged(log, str(ID), by="Dr A", reason="seen", clock=CLOCK)
    assert (await acknowledged(log, str(ID), by="Dr A", reason="seen", clock=CLOCK))[0]
    assert (await read_discrepancies(log))[ID].state == "acknowledged"


def test_the_commands_say_what_they_need() -> None:
    for command in ("list", "acknowledge"):
        assert CliRunner().invoke(app, ["discrepancy", command, "--help"]).exit_code == 0
    assert CliRunner().invoke(app, ["discrepancy", "acknowledge", str(ID)]).exit_code == 2, "nobody answers for it"

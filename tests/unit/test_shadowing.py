"""A person begins a shadow and ends it: what is written, and what may not be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.errors import SettingsInvalid
from schemas.model_events import ModelShadowed
from streams import topics
from streams.settings import Settings
from streams.shadows import shadowing
from streams.shadows.sandbox import Sandbox
from streams.shadows.shadow import shadowed
from streams.shadows.shadowing import Approvable, Asked, begun, ended, make_topics
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.analyses import ScriptedModel
from tests.unit.packages import CLOCK, model


@pytest.fixture
def log() -> FakeEventLog:
    log = FakeEventLog(topics.AUDIT.name)
    log.create(topics.MODELS.name, partitions=1)
    return log


ASKED = Asked("nodules/2", "next", "Dr A", "better")
WELL = Approvable(model("nodules/2").identity, ScriptedModel.service)


async def test_begun_is_told_to_the_log_and_the_audit(log: FakeEventLog) -> None:
    made: list[str] = []
    event = await begun(log, ASKED, WELL, CLOCK, lambda: made.append("topics"))
    assert made == ["topics"]
    (record,), (audited,) = log.records(topics.MODELS.name), log.records(topics.AUDIT.name)
    assert record.key == b"sandbox.next"
    assert ModelShadowed.model_validate_json(record.value) == ModelShadowed.model_validate_json(audited.value) == event
    assert (event.sandbox, event.name, event.version, event.service, event.ended) == ("next", "nodules", "2", WELL.service, False)
    assert (event.approved_by, event.reason, event.weights_sha256) == ("Dr A", "better", WELL.identity.weights_sha256)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (replace(ASKED, sandbox="No Name"), "--sandbox"),
        (replace(ASKED, sandbox="x" * 41), "--sandbox"),
        (replace(ASKED, approved_by=""), "--approved-by"),
        (replace(ASKED, reason=""), "--reason"),
    ],
)
async def test_what_cannot_be_begun_leaves_nothing(log: FakeEventLog, asked: Asked, said: str) -> None:
    made: list[str] = []
    with pytest.raises(SettingsInvalid, match=said):
        await begun(log, asked, WELL, CLOCK, lambda: made.append("topics"))
    assert (log.records(topics.MODELS.name), log.records(topics.AUDIT.name), made) == ([], [], [])


async def test_ended_is_what_runs(log: FakeEventLog) -> None:
    await begun(log, ASKED, WELL, CLOCK, lambda: None)
    for wrong in (replace(ASKED, reference="nodules/3"), replace(ASKED, sandbox="other")):
        with pytest.raises(SettingsInvalid, match="what runs: nodules/2 in next"):
            await ended(log, wrong, CLOCK)
    event = await ended(log, replace(ASKED, approved_by="Dr B", reason="seen enough"), CLOCK)
    assert ModelShadowed.model_validate_json(log.records(topics.MODELS.name)[-1].value) == event
    assert (event.ended, event.approved_by, event.version) == (True, "Dr B", "2")
    assert len(log.records(topics.AUDIT.name)) == 2
    with pytest.raises(SettingsInvalid, match="what runs: nothing"):
        await ended(log, ASKED, CLOCK)


def test_two_acts_at_two_times_are_two() -> None:
    of = model("nodules/2")
    at = CLOCK.now()
    made = [
        shadowed(of.identity, of.service, "next", approved_by="A", reason="B", at=at + timedelta(seconds=n)).id for n in (0, 0, 1)
    ]
    assert made[0] == made[1] != made[2]


def test_a_sandbox_that_is_a_replays_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a candidate said would stand among what the replay says, and the other way round."""
    made: list[Sandbox] = []
    there = {"sandbox.next.ai.results": 4, "sandbox.next-but-one.ai.requests": 1, "ai.requests": 4}
    monkeypatch.setattr(shadowing, "list_topics", lambda bootstrap: there)
    monkeypatch.setattr(shadowing, "ensure_sandbox", lambda settings, sandbox: made.append(sandbox))
    make_topics(Settings(), Sandbox("next"))
    assert made == [Sandbox("next")]
    there["sandbox.next.ai.requests"] = 1
    with pytest.raises(SettingsInvalid, match="replay"):
        make_topics(Settings(), Sandbox("next"))
    assert made == [Sandbox("next")]

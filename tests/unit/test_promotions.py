"""The topic of acts about models, folded."""

from __future__ import annotations

import pytest

from schemas.errors import MalformedMessage
from schemas.findings import ModelIdentity
from schemas.model_events import ModelPromoted, ModelShadowed, ModelTaken
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.promotion.acts import Act, Acts, ended, promotion, taken, told, worker_key
from tests.unit.packages import NOW, digest, record_at

NODULES = ModelIdentity(name="nodules", version="2", weights_sha256=digest("nodules/2"))


def record_of(out: Outgoing, offset: int) -> Record:
    return Record(Place(out.topic, 0, offset), out.key, out.value, out.headers, NOW)


def promoted(version: str, offset: int, name: str = "nodules", service: str = "findings") -> Record:
    of = ModelIdentity(name=name, version=version, weights_sha256=digest(f"{name}/{version}"))
    # the later on the log, the earlier by its clock
    event = promotion(of, service, approved_by="Dr A", reason="why", at=NOW.replace(minute=59 - offset))
    return record_of(told(event, name)[0], offset)


def folded(*records: Record) -> Acts:
    acts = Acts()
    for record in records:
        acts.see(record)
    return acts


def test_the_last_on_the_log_counts_whatever_the_clocks_say() -> None:
    acts = folded(promoted("1", 0), promoted("2", 1), promoted("1", 2), promoted("7", 3, "devices", "devices"))
    assert {service: act.reference for service, act in acts.promoted.items()} == {"findings": "nodules/1", "devices": "devices/7"}


def test_two_packages_of_one_service() -> None:
    """Their records have keys of their own, so that compaction keeps both: the later one counts."""
    acts = folded(promoted("9", 4, "other"), promoted("2", 6))
    assert acts.promoted["findings"].reference == "nodules/2"


def test_read_again_from_the_beginning_nothing_happens_twice() -> None:
    records = [promoted("1", 0), promoted("2", 1)]
    acts = folded(*records)
    assert [acts.see(record) for record in records] == [False, False]
    assert acts.promoted["findings"].reference == "nodules/2"


def test_shadows_begin_and_end() -> None:
    shadow = ModelShadowed(
        id=promotion(NODULES, "findings", approved_by="A", reason="B", at=NOW).id,
        time=NOW,
        name="nodules",
        version="3",
        service="findings",
        weights_sha256=digest("nodules/3"),
        approved_by="Dr A",
        reason="is it better?",
        sandbox="candidate",
    )
    begun, over = shadow, shadow.model_copy(update={"ended": True})
    records = [
        record_at(number, "sandbox.candidate", event.model_dump_json().encode(), event.TYPE)
        for number, event in enumerate((begun, over))
    ]
    assert folded(records[0]).shadows == {"candidate": begun}
    assert folded(*records).shadows == {}


def test_what_workers_say() -> None:
    act = Act(ModelPromoted.model_validate_json(promoted("2", 0).value), promoted("2", 0))
    first = record_of(taken("analyse-here", "findings", NODULES, act, NOW), 1)
    acts = folded(act.record, first)
    (found,) = acts.workers.values()
    assert (found.event.worker, found.event.well, found.cause) == ("analyse-here", True, "radstream.models/0/0")
    assert found.event.time == act.event.time
    assert found.place.offset == 1
    acts.see(record_of(taken("analyse-here", "findings", NODULES, act, NOW, "it is broken"), 2))
    (found,) = acts.workers.values()
    assert (found.event.well, found.event.reason) == (False, "it is broken")
    acts.see(record_of(ended("analyse-here", "findings", NOW), 3))
    assert acts.workers == {}


def test_one_worker_may_have_two_services() -> None:
    says = [record_of(taken("analyse-here", service, NODULES, None, NOW), n) for n, service in enumerate(("findings", "devices"))]
    assert set(folded(*says).workers) == {worker_key("analyse-here", "findings"), worker_key("analyse-here", "devices")}


@pytest.mark.parametrize(("kind", "value"), [(ModelTaken.TYPE, b'{"name": "Secret"}'), ("something.else", b"{}")])
def test_what_is_no_act_is_told_once_and_does_not_stay_in_the_way(kind: str, value: bytes) -> None:
    acts = Acts()
    with pytest.raises(MalformedMessage) as caught:
        acts.see(record_at(0, "x", value, kind))
    assert "Secret" not in str(caught.value)
    assert not acts.see(record_at(0, "x", value, kind))
    assert acts.see(promoted("1", 1))


def test_a_promotion_is_told_to_those_who_act_and_to_the_audit() -> None:
    event = promotion(NODULES, "findings", approved_by="Dr A", reason="why", at=NOW)
    to_models, to_audit = told(event, "nodules")
    assert (to_models.topic, to_audit.topic) == (topics.MODELS.name, topics.AUDIT.name)
    assert to_models.value == to_audit.value
    assert promotion(NODULES, "findings", approved_by="Dr A", reason="why", at=NOW.replace(second=1)).id != event.id

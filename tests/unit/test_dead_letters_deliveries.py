"""A delivery that failed is sent again as what holds now, to its destination alone; what was delivered since is not sent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

import pytest

from connectors.case_store import SqlCaseStore
from schemas.acts import DeadLetterDiscarded
from schemas.errors import MalformedMessage, ResourceRefused
from schemas.findings import Findings
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Acknowledgement, Outgoing, Place, Record
from schemas.renderings.fhir.bundle import bundle_of
from streams import topics
from streams.dead_letters.choosing import Filter, chosen
from streams.dead_letters.planning import Plan, plan_of
from streams.dead_letters.resending import carry_out
from streams.dead_letters.sending import Pace
from streams.dead_letters.standing import read_letters
from streams.deliveries import delivered, place_of
from streams.due import PARKED_BY
from streams.emission import emit_findings
from streams.steps.deliver import deliver
from tests.contract.example_findings import SITE, STUDY, devices_alone, findings, subject
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.dead_letter_topics import AT, OF, failed, new_log

OTHER = StudyInstanceUID("1.2.826.0.1.3680043.10.511.3.2")
REFUSED = ResourceRefused("deliver", "x", "422", b"{}")
DESTINATIONS = ["fhir", "ris"]


def bundle(of: Findings) -> Outgoing:
    key = of.subject.study_instance_uid.encode()
    return Outgoing(topics.FINDINGS.name, key, bundle_of(of, SITE), (("ce_id", str(of.analysis_id).encode()),))


def result(of: Findings) -> Outgoing:
    return emit_findings(of, None)


async def standing(log: FakeEventLog, *records: Outgoing) -> list[Record]:
    """The records as they stand on their topics."""
    places = await log.append(records)
    return [log.topics[at.topic][at.partition][at.offset] for at in places]


async def fails(log: FakeEventLog, record: Record, destination: str = "fhir") -> None:
    await log.append([failed(record, f"deliver.{destination}", REFUSED)])


async def took(log: FakeEventLog, of: Findings, destination: str = "fhir", outcome: str = "stored") -> None:
    record = Record(Place(topics.FINDINGS.name, 0, 0), b"", b"", (), AT)
    place, about = place_of(destination, of.service), of.subject
    at = (about.study_instance_uid, UUID(int=about.sequence), about.sequence, AT)
    await log.append([delivered(record, place, *at, outcome, "x")])  # type: ignore[arg-type]


async def plan(log: FakeEventLog) -> Plan:
    return await plan_of(log, chosen(await read_letters(log), Filter()), DESTINATIONS)


@pytest.mark.parametrize("make", [bundle, result])
async def test_the_latest_state_goes_to_the_destination_that_failed_alone(make: object) -> None:
    assert callable(make)
    log = new_log()
    first, _, third, *_ = await standing(log, *(make(findings(subject(number))) for number in (4, 8, 12)))
    await standing(log, make(findings(subject(16, study=OTHER))), make(devices_alone(subject(20))))
    await fails(log, first, "ris")
    (sending,) = (await plan(log)).deliveries
    assert (sending.record.topic, sending.record.key, sending.record.value) == (third.place.topic, third.key, third.value)
    (letter,) = sending.letters
    assert sending.record.headers == (*third.headers, (PARKED_BY, b"deliver.ris"), ("resent-from", str(letter.place).encode()))


async def test_letters_about_one_report_are_done_with_one_record() -> None:
    log = new_log()
    for record in await standing(log, *(bundle(findings(subject(number))) for number in (4, 8))):
        await fails(log, record, "fhir")
        await fails(log, record, "ris")
    (devices,) = await standing(log, bundle(devices_alone(subject(4))))
    await fails(log, devices)
    made = await plan(log)
    assert sorted(len(one.letters) for one in made.deliveries) == [1, 2, 2]
    assert made.letters == 5
    assert "3 to ai.findings for deliver.fhir: the latest state of 2 report(s)" in made.lines()


@pytest.mark.parametrize(
    ("sequence", "taken", "sent"), [(4, 12, False), (4, 8, True), (4, None, True), (12, 12, False), (12, 8, True)]
)
async def test_what_was_delivered_since_is_superseded(sequence: int, taken: int | None, sent: bool) -> None:
    log = new_log()
    states = {number: findings(subject(number)) for number in (4, 8, 12)}
    records = await standing(log, *map(bundle, states.values()))
    await fails(log, dict(zip(states, records, strict=True))[sequence])
    if taken is not None:
        await took(log, states[taken])
    await took(log, states[12], "ris")
    await took(log, states[12], outcome="superseded")
    made = await plan(log)
    assert [bool(made.deliveries), bool(made.superseded)] == [sent, not sent]
    said: list[str] = []
    assert await carry_out(log, made, OF, Pace(1000.0), said.append)
    assert chosen(await read_letters(log), Filter()) == []
    if not sent:
        (act,) = (DeadLetterDiscarded.model_validate_json(record.value) for record in log.records(topics.AUDIT.name))
        assert act.reason == f"superseded: state {taken} was delivered"
        assert len(log.records(topics.FINDINGS.name)) == 3


async def test_many_that_are_superseded_are_told_in_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    log = new_log()
    of = [findings(subject(number)) for number in range(1, 452)]
    for state in await standing(log, *map(bundle, of)):
        await fails(log, state)
    await took(log, of[-1])
    made = await plan(log)
    lots: list[int] = []
    append = log.append

    async def counted(records: Sequence[Outgoing]) -> Sequence[Place]:
        lots.append(len(records))
        return await append(records)

    monkeypatch.setattr(log, "append", counted)
    assert await carry_out(log, made, OF, Pace(1000.0), lambda _: None)
    assert lots == [200, 200, 51]
    assert chosen(await read_letters(log), Filter()) == []


async def test_what_is_for_ourselves_only_supersedes_nothing() -> None:
    log = new_log()
    own = findings(subject(8)).model_copy(update={"subject": subject(8).model_copy(update={"outward": False})})
    first, _ = await standing(log, result(findings(subject(4))), result(own))
    await fails(log, first, "ris")
    (sending,) = (await plan(log)).deliveries
    assert sending.record.value == first.value


async def test_what_is_gone_from_its_topic_is_sent_as_the_letter_keeps_it() -> None:
    log = new_log()
    records = await standing(log, *(bundle(findings(subject(number))) for number in (4, 8)))
    for record in reversed(records):
        await fails(log, record)
    log.create(topics.FINDINGS.name)
    (sending,) = (await plan(log)).deliveries
    assert sending.record.value == records[1].value


async def test_what_cannot_be_read_is_not_sent_again() -> None:
    log = new_log()
    (broken,) = await standing(log, Outgoing(topics.FINDINGS.name, STUDY.encode(), b"{}"))
    await log.append([failed(broken, "deliver.fhir", MalformedMessage("deliver", "x", "no Bundle"))])
    made = await plan(log)
    assert made.letters == 0
    assert "cannot be read" in made.refused[0][1]
    assert not await carry_out(log, made, OF, Pace(1000.0), lambda _: None)


async def test_the_destination_ends_with_the_latest_state(cases: SqlCaseStore) -> None:
    """Through the step itself, which is asked for the first state when the third holds."""

    class Store:
        held = 0

        async def put(self, value: bytes) -> Acknowledgement:
            self.held += 1
            self.value = value
            return Acknowledgement("DiagnosticReport/1")

    log, store = new_log(), Store()
    first, *_, last = await standing(log, *(bundle(findings(subject(number))) for number in (4, 8, 12)))
    await fails(log, first)
    assert await carry_out(log, await plan(log), OF, Pace(1000.0), lambda _: None)
    sent = log.topics[first.place.topic][first.place.partition][-1]
    step = partial(deliver, destination="fhir", store=store, cases=cases)
    for _ in range(2):
        (told,) = await step(sent)
        await log.append([told])
    assert store.value == last.value
    await fails(log, first)  # the same letter: it stays closed
    assert chosen(await read_letters(log), Filter()) == []

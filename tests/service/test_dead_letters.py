"""`radstream dead-letters` on a real Kafka: ten thousand are listed, sent again through a kill, corrected, brought to the latest
state."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from connectors.case_store import SqlCaseStore
from connectors.kafka import KafkaLog
from connectors.kafka_admin import begin_at_the_end, list_topics
from schemas.acts import DeadLetterResent, Looked
from schemas.errors import MalformedMessage, ResourceRefused, SettingsInvalid
from schemas.events import RAW_MESSAGE_TYPE, DeliveryAcknowledged, OrderPlaced
from schemas.hl7v2.site import Site
from schemas.identifiers import identity_text
from schemas.ports import Outgoing, Place, Record, Step
from schemas.renderings.fhir.bundle import bundle_of
from streams import topics
from streams.audit.listing import Wanted
from streams.audit.listing import run_list as list_audited
from streams.clock import SystemClock
from streams.dead_letter import dead_letter
from streams.dead_letters.choosing import Filter
from streams.dead_letters.discarding import run_discard
from streams.dead_letters.letters import RESENT_FROM
from streams.dead_letters.listing import run_list
from streams.dead_letters.resending import run_resend
from streams.dead_letters.showing import run_show
from streams.emission import HL7_ER7, headers
from streams.guard import Guard, Outcome
from streams.runner import group_of
from streams.runner_window import WindowRunner
from streams.services import LocalServices, ServicePorts, running_services
from streams.settings import Settings
from streams.steps.deliver import deliver
from streams.steps.normalise import normalise
from streams.wiring.clients import case_store_for, ensure_all_topics
from tests.contract.example_findings import SITE, findings, subject
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_report_store import FakeReportStore
from tests.unit.dead_letter_topics import AT

pytestmark = [pytest.mark.service, pytest.mark.timeout(500)]

LETTERS = 10_000
PATIENCE_S = 200
WHY = ("--reason", "the site takes them now")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A broker of our own: its dead letters are those of these tests alone."""
    folder = tmp_path_factory.mktemp("services")
    with running_services(folder, ServicePorts.free(), only=("kafka",), tell=lambda _: None) as services:
        yield services


class Bench:
    """The topics, and the command as a process."""

    def __init__(self, settings: Settings, log: KafkaLog, cases: SqlCaseStore, folder: Path) -> None:
        self.settings, self.log, self.cases, self.folder = settings, log, cases, folder

    async def started(self, *arguments: str) -> asyncio.subprocess.Process:
        """`radstream dead-letters ARGUMENTS`."""
        own = {"RADSTREAM_KAFKA__BOOTSTRAP": self.settings.kafka.bootstrap, "RADSTREAM_DATABASE__URL": self.settings.database.url}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "streams", "dead-letters", *arguments),
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **own},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def radstream(self, *arguments: str, code: int = 0) -> str:
        """What the command printed."""
        process = await self.started(*arguments)
        out, err = await process.communicate()
        assert process.returncode == code, err.decode()
        return out.decode() + err.decode() * bool(code)

    async def standing(self, records: Sequence[Outgoing]) -> list[Record]:
        """As they stand on their topics."""
        places: list[Place] = []
        for at in range(0, len(records), 500):
            places += await self.log.append(records[at : at + 500])
        return [Record(place, of.key, of.value, of.headers, AT) for place, of in zip(places, records, strict=True)]

    @asynccontextmanager
    async def running(self, name: str, step: Step, topic: topics.Topic) -> AsyncIterator[None]:
        """The step in its guard, from what comes now on."""
        stop = asyncio.Event()
        guard = Guard(name, step, self.log, self.cases, SystemClock(), stop)
        await asyncio.to_thread(begin_at_the_end, self.settings.kafka.bootstrap, group_of(name), [topic.name])
        task = asyncio.create_task(WindowRunner(self.settings.kafka.bootstrap, name, size=1).run([topic.name], guard, stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def until(self, topic: topics.Topic, enough: Callable[[Record], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            async for record in self.log.read(topic.name, follow=True):
                if enough(record):
                    return

    async def all(self, topic: topics.Topic) -> list[Record]:
        return [record async for record in self.log.read(topic.name)]


@pytest.fixture
async def bench(kafka: LocalServices, tmp_path: Path) -> AsyncIterator[Bench]:
    settings = Settings(kafka={"bootstrap": kafka.kafka_bootstrap}, database={"url": f"sqlite:///{tmp_path / 'radstream.db'}"})
    await asyncio.to_thread(ensure_all_topics, settings)
    cases = case_store_for(settings)
    async with KafkaLog(kafka.kafka_bootstrap) as log:
        yield Bench(settings, log, cases, tmp_path)
    await cases.close()


def used_by_children() -> float:
    """Seconds of the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def raw(number: int, charset: str = "") -> Outgoing:
    """An order as a listener stores it, of one of a hundred senders."""
    sender = f"RIS{number % 97}|TAICHUNG"
    value = (
        f"MSH|^~\\&|{sender}|||20261130080000||ORM^O01|{number}|P|2.5.1||||||{charset}\r"
        f"PID|1||{number:06}^^^HIS||DOE^JANE\rORC|NW|P{number}\rOBR|1|P{number}||71046\r"
    ).encode()
    own = headers(id=identity_text("test", str(number)), type=RAW_MESSAGE_TYPE, time=AT, cause=None, content_type=HL7_ER7)
    return Outgoing(topics.HL7_RAW.name, sender.encode(), value, (*own, ("peer", b"10.0.0.1:1")))


async def test_who_only_looks_makes_no_topics(kafka: LocalServices) -> None:
    """The first of the file: the broker has none yet."""
    settings = Settings(kafka={"bootstrap": kafka.kafka_bootstrap})
    everything = Filter()
    before = set(list_topics(kafka.kafka_bootstrap))
    await run_list(settings, everything, all_states=True, counts_only=False, as_json=False)
    assert await run_resend(settings, [], everything, None, all_open=True, rate=1.0, say=lambda _: None)
    await run_discard(settings, [], everything, None, all_open=True, say=lambda _: None)
    with pytest.raises(SettingsInvalid, match="there is none"):
        await run_show(settings, "5f2c1a", None, as_json=False)
    await list_audited(settings, Wanted(), causes=True, as_json=False)
    assert set(list_topics(kafka.kafka_bootstrap)) == before


async def test_ten_thousand_are_listed_and_sent_again_through_a_kill_without_a_duplicate(bench: Bench) -> None:
    originals = await bench.standing([raw(number) for number in range(LETTERS)])
    wrong = MalformedMessage("normalise", "MSH-18", "is no character set that is read")
    await bench.standing([dead_letter(one, "normalise", wrong, 1) for one in originals])

    began, used = time.perf_counter(), used_by_children()
    told = json.loads(await bench.radstream("list", "--json"))
    took, used = time.perf_counter() - began, used_by_children() - used
    print(f"{LETTERS} dead letters listed in {took:.2f} s ({used:.2f} s of the processor), the start of the command included")
    assert used < 10  # others may have the processors meanwhile
    assert (len(told["letters"]), told["counts"][0]["letters"]) == (LETTERS, LETTERS)

    resend = ("resend", "--step", "normalise", "--rate", "2000", *WHY)
    came = 0

    def some(record: Record) -> bool:
        nonlocal came
        came += record.header(RESENT_FROM) is not None
        return came >= LETTERS // 3

    process = await bench.started(*resend)
    await bench.until(topics.HL7_RAW, some)
    process.kill()
    await process.communicate()
    assert process.returncode != 0
    said = await bench.radstream(*resend)

    sent = [record for record in await bench.all(topics.HL7_RAW) if record.header(RESENT_FROM)]
    twice = len(sent) - LETTERS
    print(f"{twice} sent twice by the kill; {said.splitlines()[-1]}")
    assert 0 <= twice <= 100  # what was on its way when the first was killed
    assert len({record.headers for record in sent}) == LETTERS
    assert "0 letters open" in await bench.radstream("list")

    made = FakeEventLog(topics.ORDERS.name, topics.DEAD_LETTERS.name)  # a real one takes ten thousand appends one by one
    step = partial(normalise, site=Site(default_assigner="HIS"))
    guard = Guard("normalise", step, made, bench.cases, SystemClock(), asyncio.Event())
    assert {await guard(record) for record in sent} == {Outcome.DONE}
    assert made.records(topics.DEAD_LETTERS.name) == []
    placed = {record.header("ce_id"): record.value for record in made.records(topics.ORDERS.name)}
    assert len(made.records(topics.ORDERS.name)) == len(sent)
    assert len(placed) == LETTERS
    numbers = {order.placer_order_number for order in map(OrderPlaced.model_validate_json, placed.values())}
    assert len(numbers) == LETTERS


async def test_a_corrected_copy_goes_through_and_is_linked(bench: Bench) -> None:
    (original,) = await bench.standing([raw(20_001, charset="KLINGON")])
    wrong = MalformedMessage("normalise", "MSH-18", "is no character set that is read")
    (letter,) = await bench.standing([dead_letter(original, "normalise", wrong, 1)])
    file = bench.folder / "mended.hl7"
    resend = ("resend", str(letter.place), "--correct", str(file), "--by", "Pat", *WHY)

    file.write_bytes(original.value)
    assert "nothing is corrected" in await bench.radstream(*resend, code=2)
    file.write_bytes(original.value.replace(b"KLINGON", b"VULCAN"))
    assert "MSH-18" in await bench.radstream(*resend, code=1)
    file.write_bytes(original.value.replace(b"KLINGON", b"UNICODE UTF-8"))
    async with bench.running("normalise", partial(normalise, site=Site(default_assigner="HIS")), topics.HL7_RAW):
        assert "1 sent again" in await bench.radstream(*resend)
        await bench.until(topics.ORDERS, lambda record: b'"P20001"' in record.value)

    (copy,) = [record for record in await bench.all(topics.HL7_RAW) if record.header(RESENT_FROM) == str(letter.place)]
    assert copy.value == file.read_bytes()
    assert copy.header("ce_id") != original.headers[1][1].decode()
    shown = json.loads(await bench.radstream("show", str(letter.place), "--json"))
    assert [part["place"] for part in shown["value"] if part["wrong"]] == ["MSH-18"]
    assert [(act["outcome"], act["by"], len(act["corrected_sha256"])) for act in shown["since"]] == [
        ("begun", "Pat", 64),
        ("done", "Pat", 64),
    ]
    assert "sent again already, by Pat" in await bench.radstream(*resend)


async def test_values_are_shown_to_whoever_says_why(bench: Bench) -> None:
    (original,) = await bench.standing([raw(20_002)])
    (letter,) = await bench.standing([dead_letter(original, "normalise", MalformedMessage("normalise", "PID-5", "is wrong"), 1)])
    assert "DOE^JANE" not in await bench.radstream("show", str(letter.place))
    assert "--reason" in await bench.radstream("show", str(letter.place), "--reveal", code=2)
    assert "DOE^JANE" in await bench.radstream("show", str(letter.place), "--reveal", "--by", "Pat", *WHY)
    (act,) = [
        Looked.model_validate_json(one.value) for one in await bench.all(topics.AUDIT) if one.header("ce_type") == Looked.TYPE
    ]
    assert (act.by, act.places) == ("Pat", (str(letter.place),))
    assert "1 discarded" in await bench.radstream("discard", str(letter.place), *WHY)


async def test_a_delivery_sent_again_is_the_latest_state_for_its_destination_alone(bench: Bench) -> None:
    """Two destinations read the topic; one had refused the first state."""
    fhir, other = FakeReportStore(), FakeReportStore()
    made = [findings(subject(number)) for number in (4, 8, 12)]
    key = made[0].subject.study_instance_uid.encode()
    bundles = [Outgoing(topics.FINDINGS.name, key, bundle_of(one, SITE), ()) for one in made]
    first, *_ = await bench.standing(bundles)
    refused = ResourceRefused("deliver", "study", "422", b"{}")
    (letter,) = await bench.standing([dead_letter(first, "deliver.fhir", refused, 1)])
    resend = ("resend", "--step", "deliver", *WHY)

    async with (
        bench.running("deliver.fhir", partial(deliver, destination="fhir", store=fhir, cases=bench.cases), topics.FINDINGS),
        bench.running("deliver.other", partial(deliver, destination="other", store=other, cases=bench.cases), topics.FINDINGS),
    ):
        said = await bench.radstream(*resend)
        assert "the latest state of 1 report(s)" in said
        await bench.until(topics.DELIVERIES, lambda record: b'"fhir"' in record.value)
        # behind it, for all: so the other has passed the first one over by then
        last = Outgoing(topics.FINDINGS.name, key, bundle_of(findings(subject(16)), SITE), ())
        await bench.standing([last])
        await bench.until(topics.DELIVERIES, lambda record: b'"other"' in record.value)
    told = [DeliveryAcknowledged.model_validate_json(record.value) for record in await bench.all(topics.DELIVERIES)]
    assert [(one.sequence, one.outcome) for one in told if one.destination == "fhir"][:1] == [(12, "stored")]
    assert [(one.sequence, one.outcome) for one in told if one.destination == "other"] == [(16, "stored")]

    (late,) = await bench.standing([dead_letter(bench_record(first, 1), "deliver.fhir", refused, 1)])
    assert "1 superseded" in await bench.radstream(*resend)
    shown = json.loads(await bench.radstream("show", str(late.place), "--json"))
    assert shown["state"] == "discarded"
    assert shown["since"][0]["reason"].startswith("superseded: state 1")
    acts = [one for one in await bench.all(topics.AUDIT) if one.header("ce_type") == DeadLetterResent.TYPE]
    of = [DeadLetterResent.model_validate_json(one.value) for one in acts]
    assert {one.letter for one in of if one.letter_id == UUID(letter.header("ce_id"))} == {str(letter.place)}


def bench_record(of: Record, later: int) -> Record:
    """The same record, as it would stand somewhere else."""
    return Record(Place(of.place.topic, of.place.partition, of.place.offset + later), of.key, of.value, of.headers, of.timestamp)

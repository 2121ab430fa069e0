"""One view: what people did and what the engine did, with the records that led to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.acts import Looked
from schemas.errors import BrokerUnavailable, MalformedMessage, SettingsInvalid
from schemas.history import Span
from schemas.hl7v2.site import Site
from schemas.ports import Outgoing, Place, Record
from schemas.renderings.audited import Deed
from schemas.renderings.fhir.bundle import bundle_of
from streams import topics
from streams.audit.keyed import hashed_accession_number
from streams.audit.listing import Wanted, as_json_text, as_lines, found, subject_of
from streams.audit.tracing import causes_of, persons_of, with_patients
from streams.audit.viewing import ENGINE, PEOPLE
from streams.cli import app
from streams.dead_letter import dead_letter
from streams.placed import each_at
from streams.settings import read_settings
from tests.contract.example_findings import SITE as FHIR_SITE
from tests.contract.fake_event_log import START
from tests.contract.fake_history import FakeHistory
from tests.unit.audited_acts import FINDINGS, KEY, ORDER_PATIENT, PATIENT, STUDY, Yesterday, act, one_of_everything, walked

SITE = Site(default_assigner="HOSPITAL")


@pytest.fixture
def day() -> Yesterday:
    return Yesterday()


async def test_everything_is_in_one_view_and_in_order_of_time(day: Yesterday) -> None:
    await one_of_everything(day)
    seen = await found(day.history, Wanted())
    assert [one.at for one in seen] == sorted(one.at for one in seen)
    assert {one.deed for one in seen} == set(Deed)
    counted = sum(len(day.log.records(topic.name)) for topic in PEOPLE + ENGINE)
    assert len(seen) == counted == 18, "what cannot be read is told too"
    assert {one.by for one in seen} == {"A. Lin", "B. Chen", "Dr A", "Dr B", None}
    assert {one.outcome for one in seen} == {"begun", "done", "failed"}
    told = {one.words: one for one in seen}
    assert told["saw 2 records (case)"].subject == hashed_accession_number(KEY, "ACC-1")
    assert told["delivered state 16 of the study to fhir"].study == STUDY
    assert told["recalled chest-nodule/2"].reason == "better"
    assert told["began with 1 changed setting"].names == ("RADSTREAM_FHIR__URL",)
    assert told["could not finish a record of hl7.v2.raw (normalise): MalformedMessage"].reason == "ORC-1: is none"


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (Wanted(topics=PEOPLE), 14),
        (Wanted(topics=ENGINE), 4),
        (Wanted(by="b. chen"), 1),
        (Wanted(subject=hashed_accession_number(KEY, "ACC-1^HOSPITAL")), 1),
        (Wanted(subject=hashed_accession_number(KEY, "ACC-2")), 0),
        (Wanted(study=STUDY), 4),
        (Wanted(last=3), 3),
        (Wanted(until=START), 0),
        (Wanted(since=START + timedelta(days=1)), 0),
    ],
)
async def test_what_is_asked_for_is_found(day: Yesterday, wanted: Wanted, count: int) -> None:
    await one_of_everything(day)
    assert len(await found(day.history, wanted)) == count


async def test_who_saw_a_record_and_what_came_of_it(day: Yesterday) -> None:
    await one_of_everything(day)
    (message,) = day.log.records(topics.HL7_RAW.name)
    seen = await found(day.history, Wanted(place=str(message.place)))
    assert sorted(one.deed for one in seen) == [Deed.LOOKED, Deed.LOOKED, Deed.NOT_FINISHED]


async def test_the_newest_are_kept_of_each_partition(day: Yesterday) -> None:
    for number in range(20):
        await day.act(act(Looked, what="tail", reason=f"number {number}"))
    assert [one.reason for one in await found(day.history, Wanted(last=2))] == ["number 18", "number 19"]


async def test_since_and_until_are_of_the_log(day: Yesterday) -> None:
    written = [await day.act(act(Looked, what="tail", reason=f"number {number}")) for number in range(4)]
    some = await found(day.history, Wanted(since=written[1].timestamp, until=written[3].timestamp))
    assert [one.reason for one in some] == ["number 1", "number 2"]


async def test_a_delivery_leads_back_to_the_message(day: Yesterday) -> None:
    message, answer, _ = await walked(day)
    seen = await found(day.history, Wanted(topics=ENGINE))
    (chain,) = (await causes_of(day.history, seen)).values()
    assert [cause.place.partition("/")[0] for cause in chain] == ["ai.results", "imaging.orders", "hl7.v2.raw"]
    assert (chain[0].place, chain[-1].place) == (str(answer.place), str(message.place))
    (order,) = day.log.records(topics.ORDERS.name)
    day.history.remove_before(topics.ORDERS.name, order.place.partition, 1)
    (shorter,) = (await causes_of(day.history, seen)).values()
    assert [cause.place for cause in shorter] == [str(answer.place)], "retention took the rest"


async def test_a_circle_of_causes_ends(day: Yesterday) -> None:
    place = b"ai.results/0/0"
    day.log.topics["ai.results"][0] = [Record(Place("ai.results", 0, 0), None, b"{}", (("cause", place),), START)]
    await day.put(Outgoing(topics.DELIVERIES.name, b"k", b"{}", (("cause", place),)))
    seen = await found(day.history, Wanted(topics=ENGINE))
    (chain,) = (await causes_of(day.history, seen)).values()
    assert len(chain) == 32


async def there(history: FakeHistory, places: Sequence[str]) -> list[Record]:
    wanted = filter(None, map(Place.parse, places))
    return [found async for found in each_at(history, wanted) if isinstance(found, Record)]


async def test_records_are_found_by_their_places_however_far_apart(day: Yesterday) -> None:
    partition = [Record(Place("ai.results", 1, number), None, b"", (), START) for number in range(3000)]
    day.log.topics["ai.results"][1] = partition
    day.history.remove_before("ai.results", 1, 5)
    wanted = [0, 7, 8, 400, 1500, 2999, 3000]
    places = [f"ai.results/1/{offset}" for offset in wanted] + ["ai.results/9/1", "no place", "sandbox.gone.ai.results/0/1"]
    got = [record.place.offset for record in await there(day.history, places)]
    assert got == [7, 8, 400, 1500, 2999]
    elsewhere = ["no.such.topic/0/1", "../0/1", "a b/0/1", "ai.results/1/" + 5000 * "9", "ai.results/1/١"]
    assert await there(day.history, elsewhere) == [], "whoever writes a record may name anything"
    day.log.away = True
    with pytest.raises(BrokerUnavailable):
        await there(day.history, places)


async def test_a_topic_may_be_deleted_after_somebody_looked_at_it(day: Yesterday) -> None:
    class Deleting(FakeHistory):
        async def spans(self, topic: str) -> Sequence[Span]:
            spans = await super().spans(topic)
            day.log.topics.pop(topic)
            return spans

    day.log.topics["gone"] = [[Record(Place("gone", 0, 0), None, b"", (), START)]]
    assert await there(Deleting(day.log), ["gone/0/0"]) == []
    await day.act(act(Looked, what="tail", places=("gone/0/0",)))
    (seen,) = await with_patients(day.history, await found(day.history, Wanted()), SITE)
    assert seen.patients == ()
    assert await causes_of(day.history, [replace(seen, cause="gone/0/0")]) == {seen.place: []}


async def test_persons_are_looked_up_where_the_act_points(day: Yesterday) -> None:
    await one_of_everything(day)
    seen = await with_patients(day.history, await found(day.history, Wanted()), SITE)
    patients = {one.words: one.patients for one in seen}
    assert patients["saw 2 records (case)"] == (PATIENT, ORDER_PATIENT)
    assert patients["saw 1 record (tail)"] == (ORDER_PATIENT,), "one identifier of each person"
    assert patients["delivered state 16 of the study to fhir"] == (PATIENT,)
    assert patients["could not finish a record of hl7.v2.raw (normalise): MalformedMessage"] == (ORDER_PATIENT,)
    assert patients["discarded a dead letter"] == (ORDER_PATIENT,)
    assert patients["promoted chest-nodule/2"] == ()
    (message,) = day.log.records(topics.HL7_RAW.name)
    day.history.remove_before(topics.HL7_RAW.name, message.place.partition, 1)
    later = await with_patients(day.history, await found(day.history, Wanted(by="B. Chen")), SITE)
    assert [one.patients for one in later] == [()], "retention took it"


MERGE = (
    b"MSH|^~\\&|ADT|A|||20260101000000||ADT^A40|1|P|2.5.1\rEVN||20260101\r"
    b"PID|1||NEW^^^H\rMRG|OLD^^^H\rPID|2||NEW2^^^H\rMRG|OLD2^^^H\r"
)


@pytest.mark.parametrize(
    ("topic", "value", "numbers"),
    [
        ("hl7.v2.raw", MERGE, ["NEW", "NEW2", "OLD", "OLD2"]),
        ("hl7.v2.raw", b"no message", []),
        (
            "imaging.patients",
            b'{"patients": [{"value": "1", "assigner": "H"}], "prior": [{"value": "2", "assigner": "H"}]}',
            ["1", "2"],
        ),
        ("imaging.studies", b'{"patient": {"value": "1", "assigner": "H"}}', ["1"]),
        ("imaging.studies", b'{"patient": null}', []),
        ("ai.requests.stat", b'{"subject": {"patient": {"value": "1", "assigner": "H"}}}', ["1"]),
        ("sandbox.next.ai.results", b'{"subject": {"patient": {"value": "1", "assigner": "H"}}}', ["1"]),
        ("sandbox.next.hl7.v2.raw", MERGE, ["NEW", "NEW2", "OLD", "OLD2"]),
        ("ai.results", b"\xff", []),
        ("ai.results", b"[1]", []),
        ("ai.results", b"[" * 200_000, []),
        ("sandbox.next", b"{}", []),
        ("ai.results", b'{"patients": 7, "subject": "x"}', []),
        ("ai.findings", b'{"resourceType": "Bundle", "entry": [7, {"resource": {"subject": 8}}]}', []),
        ("radstream.deliveries", b'{"destination": "fhir"}', []),
    ],
)
def test_persons_of_whatever_stands_on_a_topic(topic: str, value: bytes, numbers: list[str]) -> None:
    assert [person.value for person in persons_of(Record(Place(topic, 0, 0), None, value, (), START), SITE)] == numbers


def test_persons_of_a_report_in_fhir() -> None:
    bundle = bundle_of(FINDINGS, FHIR_SITE)
    assert persons_of(Record(Place("ai.findings", 0, 0), None, bundle, (), START), SITE) == (PATIENT,)


async def test_the_type_of_a_message_that_others_wrote_is_no_word_of_ours(day: Yesterday) -> None:
    message = await day.put(Outgoing(topics.HL7_RAW.name, b"MRN-1", b"MSH|", (("ce_type", b"DOE"),)))
    await day.put(dead_letter(message, "normalise", MalformedMessage("normalise", "MSH", "is none"), 1))
    seen = await found(day.history, Wanted(topics=ENGINE))
    assert "DOE" not in as_json_text(seen, await causes_of(day.history, seen))


async def test_what_is_shown_holds_no_patient_data(day: Yesterday) -> None:
    await one_of_everything(day)
    seen = await found(day.history, Wanted())
    chains = await causes_of(day.history, seen)
    assert PATIENT is not None
    for text in (as_lines(seen, chains), as_json_text(seen, chains)):
        assert not [secret for secret in (PATIENT.value, "MRN-1", "ALT-1", "DOE", "ACC-1") if secret in text]
    rows = json.loads(as_json_text(seen, chains))
    assert [row["place"] for row in rows] == [one.place for one in seen]
    assert sum(row["person"] for row in rows) == 13
    (delivery,) = (row for row in rows if row["destination"] == "fhir")
    assert [cause["place"].partition("/")[0] for cause in delivery["causes"]] == ["ai.results", "imaging.orders", "hl7.v2.raw"]
    assert "because of hl7.v2.raw/" in as_lines(seen, chains)


async def test_nobody_speaks_to_the_terminal_from_the_log(day: Yesterday) -> None:
    await day.act(act(Looked, what="tail", reason="\x1b[2J all is well \x07"))
    text = as_lines(await found(day.history, Wanted()), {})
    assert "\x1b" not in text
    assert text.count("\n") == 1


def test_nothing_says_so() -> None:
    assert as_lines([], {}) == "nothing was found: --since looks further back\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--people", "--engine"), "without either it is both"), (("--since", "yesterday"), "--since: 'yesterday' is no time")],
)
def test_what_cannot_be_asked_is_refused(arguments: tuple[str, ...], said: str) -> None:
    ended = CliRunner().invoke(app, ["audit", "list", *arguments], env={"COLUMNS": "300"})
    assert ended.exit_code == 2
    assert said in " ".join(ended.output.split())


def test_who_asked_is_not_answered_without_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_AUDIT__HASH_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(SettingsInvalid, match="only with the key of the machine where it was asked"):
        subject_of(read_settings(), "ACC-1")
    assert not (tmp_path / "key").exists(), "a new key would find nobody, and say so"
    (tmp_path / "key").write_text("00" * 32)
    assert subject_of(read_settings(), "ACC-1") == hashed_accession_number(KEY, "ACC-1")

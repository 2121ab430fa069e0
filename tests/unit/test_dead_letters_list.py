"""Dead letters are found by what they are, and show what became of them; no patient data."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from schemas.errors import BrokerUnavailable, SettingsInvalid, StudyIncomplete
from schemas.ports import Outgoing
from schemas.renderings.fhir.bundle import bundle_of
from streams import topics
from streams.dead_letters.acts import discarded, resent
from streams.dead_letters.choosing import Filter, chosen, filter_of, those
from streams.dead_letters.discarding import discard
from streams.dead_letters.listing import listed
from streams.dead_letters.planning import plan_of
from streams.dead_letters.showing import in_words, shown
from streams.dead_letters.standing import read_letters, record_of
from streams.existing import Existing
from tests.contract.example_findings import SITE, two_findings
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.dead_letter_topics import CLOCK, MESSAGE, OF, failed, letter_in, new_log, original


async def test_the_same_failure_written_twice_is_one_letter() -> None:
    log = new_log()
    await log.append([failed(original(0)), failed(original(0)), failed(original(1))])
    letters = await read_letters(log)
    assert sorted(letters.copies.values()) == [1, 2]
    assert len(chosen(letters, Filter())) == 2


async def test_what_is_no_dead_letter_is_passed_over() -> None:
    log = new_log()
    await log.append([Outgoing(topics.DEAD_LETTERS.name, None, b"?"), failed(original())])
    assert len((await read_letters(log)).by_id) == 1


async def test_the_last_act_says_what_became_of_it() -> None:
    log = new_log()
    letter = await letter_in(log, failed(original()))
    for act, state in (
        (resent(letter, OF, "begun", CLOCK), "sending"),
        (resent(letter, OF, "failed", CLOCK), "open"),
        (resent(letter, OF, "done", CLOCK), "resent"),
        (discarded(letter, OF, CLOCK), "discarded"),
    ):
        await log.append([act])
        letters = await read_letters(log)
        assert letters.state(letter) == state
        assert bool(chosen(letters, Filter())) == (state in ("open", "sending"))
        assert chosen(letters, Filter(), all_states=True) == [letter]


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (Filter(), True),
        (Filter(step="normalise"), True),
        (Filter(step="normal"), False),
        (Filter(error="malformedmessage"), True),
        (Filter(error="ValueError"), False),
        (Filter(topic="hl7.v2.raw"), True),
        (Filter(topic="ai.results"), False),
        (Filter(sender="RIS|TAICHUNG"), True),
        (Filter(sender="RIS|TAIPEI"), False),
        (Filter(key="RIS|TAICHUNG"), True),
        (Filter(key="RIS"), False),
        (Filter(step="normalise", error="ValueError"), False),
    ],
)
async def test_filters(wanted: Filter, matches: bool) -> None:
    log = new_log()
    letter = await letter_in(log, failed(original()))
    assert wanted.matches(letter) is matches


async def test_a_step_that_delivers_stands_for_all_its_destinations() -> None:
    log = new_log()
    letter = await letter_in(log, failed(original(topic=topics.FINDINGS), "deliver.fhir", StudyIncomplete("deliver", "x", "y")))
    assert letter.delivers
    assert Filter(step="deliver").matches(letter)
    assert Filter(step="deliver.fhir").matches(letter)
    assert not Filter(step="deliver.ris").matches(letter)


async def test_a_time_is_when_the_letter_was_written() -> None:
    log = new_log()
    letter = await letter_in(log, failed(original()))
    second = timedelta(seconds=1)
    assert Filter(since=letter.at, until=letter.at + second).matches(letter)
    assert not Filter(since=letter.at + second).matches(letter)
    assert not Filter(until=letter.at).matches(letter)


def test_times_as_people_type_them() -> None:
    typed = filter_of(None, None, None, None, None, "2026-11-30T08:00", "2026-11-30T10:00Z", ZoneInfo("Asia/Taipei"))
    assert typed == Filter(since=datetime(2026, 11, 30, 0, tzinfo=UTC), until=datetime(2026, 11, 30, 10, tzinfo=UTC))
    for since, until, option in (("yesterday", None, "--since"), (None, "999999d", "--until")):
        with pytest.raises(SettingsInvalid, match=option):
            filter_of(None, None, None, None, None, since, until, ZoneInfo("UTC"))


async def test_the_sender_of_what_came_through_no_listener_is_read_only_when_asked_for() -> None:
    log = new_log()
    letter = await letter_in(log, failed(original(headers=())))
    assert letter.sender is None
    assert letter.key_is_hidden
    (asked,) = (await read_letters(log, senders=True)).by_id.values()
    assert asked.sender == "RIS|TAICHUNG"


async def test_a_list_counts_first_and_holds_no_patient_data() -> None:
    log = new_log()
    patients = replace(original(5, topics.PATIENTS, value=b'{"name":"DOE"}'), key=b"4711^HOSPITAL")
    await log.append([failed(original(0)), failed(original(1)), failed(patients, "correlate")])
    letters = await read_letters(log)
    text = listed(letters, Filter(), all_states=False, counts_only=False, as_json=False)
    assert text.splitlines()[:3] == [
        "       2  normalise: MalformedMessage",
        "       1  correlate: MalformedMessage",
        "3 letters open",
    ]
    assert "PID-3: holds a byte" in text
    told = json.loads(listed(letters, Filter(), all_states=False, counts_only=False, as_json=True))
    assert told["counts"][0] == {"step": "normalise", "error": "MalformedMessage", "letters": 2}
    assert [one["key"] for one in told["letters"] if one["topic"] == topics.PATIENTS.name] == ["(hidden)"]
    assert "4711" not in text + json.dumps(told)
    assert "letters" not in json.loads(listed(letters, Filter(), all_states=False, counts_only=True, as_json=True))


async def test_a_sender_does_not_speak_to_the_terminal() -> None:
    log = new_log()
    hostile = "RIS\x1b[2J\x9b\u202e|H"
    record = replace(original(value=MESSAGE.replace(b"RIS|TAICHUNG", hostile.encode())), key=hostile.encode())
    letter = await letter_in(log, failed(record))
    letters = await read_letters(log)
    text = listed(letters, Filter(), all_states=False, counts_only=False, as_json=False)
    assert "RIS\ufffd[2J\ufffd\ufffd|H" in text
    told = shown(letters, letter, await record_of(FakeHistory(log), letter), "UNICODE UTF-8", reveal=True)
    as_json = listed(letters, Filter(), all_states=False, counts_only=False, as_json=True)
    assert json.loads(as_json)["letters"][0]["key"] == hostile
    for said in (text, as_json, in_words(told)):
        assert all(line.isprintable() for line in said.split("\n"))


async def test_letters_are_named_by_id_by_its_beginning_and_by_place() -> None:
    log = new_log()
    letter = await letter_in(log, failed(original()))
    letters = await read_letters(log)
    for name in (str(letter.id), str(letter.id)[:6].upper(), str(letter.place)):
        assert letters.named([name, name]) == [letter]
    for name in (str(letter.id)[:5], "ffffffff", "radstream.dead-letters/0/99"):
        with pytest.raises(SettingsInvalid, match="there is none"):
            letters.named([name])


async def test_a_letter_that_was_written_twice_is_named_by_either_place() -> None:
    log = new_log()
    places = await log.append([failed(original()), failed(original())])
    letters = await read_letters(log)
    (letter,) = letters.by_id.values()
    for place in places:
        assert letters.named([str(place)]) == [letter]
    back = await letter_in(log, failed(original(9, headers=(("resent-from", str(places[1]).encode()),))))
    assert (await read_letters(log)).came_back(letter) == [back]


async def test_everything_must_be_said_in_as_many_words() -> None:
    log = new_log()
    letter = await letter_in(log, failed(original()))
    letters = await read_letters(log)
    with pytest.raises(SettingsInvalid, match="--all-open"):
        those(letters, [], Filter(), all_open=False)
    with pytest.raises(SettingsInvalid, match="not both"):
        those(letters, [str(letter.id)], Filter(step="normalise"), all_open=False)
    assert those(letters, [], Filter(), all_open=True) == [letter]


async def test_discarded_ones_stay_where_they_are() -> None:
    log = new_log()
    await log.append([failed(original(number)) for number in range(450)])
    before = log.records(topics.DEAD_LETTERS.name)
    letters = await read_letters(log)
    progress: list[int] = []
    await discard(log, chosen(letters, Filter()), OF, CLOCK, progress.append)
    assert progress[-1] == 450
    assert chosen(await read_letters(log), Filter()) == []
    assert log.records(topics.DEAD_LETTERS.name) == before
    acts = log.records(topics.AUDIT.name)
    assert len({act.header("ce_id") for act in acts}) == 450
    assert MESSAGE not in [act.value for act in acts]


async def test_topics_that_nobody_made_hold_nothing() -> None:
    there = Existing(FakeHistory(FakeEventLog()))
    letters = await read_letters(there)
    assert listed(letters, Filter(), all_states=True, counts_only=False, as_json=False) == "0 letters\n"
    plan = await plan_of(there, chosen(letters, Filter()), ["fhir"])
    assert (plan.letters, plan.lines()) == (0, [])


async def test_letters_are_read_where_the_topics_of_their_studies_are_missing() -> None:
    log = FakeEventLog(topics.DEAD_LETTERS.name)
    about = original(topic=topics.FINDINGS, value=bundle_of(two_findings(), SITE))
    await log.append([failed(about, "deliver.fhir", StudyIncomplete("deliver", "x", "y"))])
    there = Existing(FakeHistory(log))
    plan = await plan_of(there, chosen(await read_letters(there), Filter()), ["fhir"])
    assert plan.letters == 1
    assert not set(log.topics) - {topics.DEAD_LETTERS.name}


async def test_a_broker_that_is_away_is_said_to_be() -> None:
    log = new_log()
    log.away = True
    with pytest.raises(BrokerUnavailable):
        await read_letters(log)

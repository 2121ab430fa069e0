"""Patient data is shown to a person only once it is written who sees it."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.acts import Looked
from schemas.errors import BrokerUnavailable, SettingsInvalid
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.audit.acts import Actor, actor, audited, login_name, looked
from streams.audit.keyed import hash_key, hashed_accession_number, keyed_hash
from streams.audit.looks import about_to_see, seen
from tests.contract.fake_event_log import START, FakeEventLog
from tests.unit.packages import CLOCK

WHO = Actor("A. Lin", "a question of the ward")
KEY = bytes(32)


@pytest.fixture
def log() -> FakeEventLog:
    log = FakeEventLog(topics.HL7_RAW.name, topics.MODELS.name)
    log.create(topics.AUDIT.name, partitions=1)
    return log


async def put(log: FakeEventLog, topic: str, count: int, size: int = 10) -> None:
    await log.append([Outgoing(topic, str(number).encode(), b"x" * size) for number in range(count)])


def acts(log: FakeEventLog) -> list[Looked]:
    return [Looked.model_validate_json(record.value) for record in log.records(topics.AUDIT.name)]


async def test_a_record_is_shown_after_the_act_that_names_it(log: FakeEventLog) -> None:
    await put(log, topics.HL7_RAW.name, 250)
    shown = 0
    async for record in seen(log, log.read(topics.HL7_RAW.name), "tail", WHO, CLOCK):
        assert str(record.place) in {place for act in acts(log) for place in act.places}
        shown += 1
    named = [place for act in acts(log) for place in act.places]
    assert shown == len(named) == len(set(named)) == 250
    assert len(acts(log)) == 3, "what is there at once is one act, up to a hundred records"
    assert {(act.by, act.reason, act.what, act.outcome) for act in acts(log)} == {(WHO.by, WHO.reason, "tail", "done")}


async def test_acts_of_large_records_name_few(log: FakeEventLog) -> None:
    await put(log, topics.HL7_RAW.name, 6, size=1024 * 1024 - 1)
    await put(log, topics.HL7_RAW.name, 34, size=1024 * 1024 - 1)
    assert len([record async for record in seen(log, log.read(topics.HL7_RAW.name), "tail", WHO, CLOCK)]) == 40
    assert [len(act.places) for act in acts(log)] == [33, 7]


async def test_nothing_is_shown_when_it_cannot_be_audited(log: FakeEventLog) -> None:
    await put(log, topics.HL7_RAW.name, 3)
    del log.topics[topics.AUDIT.name]
    following = seen(log, log.read(topics.HL7_RAW.name), "tail", WHO, CLOCK)
    with pytest.raises(BrokerUnavailable):
        await anext(following)


async def test_what_is_shown_at_once_is_named_in_few_acts(log: FakeEventLog) -> None:
    places = [Place("ai.results", 0, offset) for offset in range(250)]
    await about_to_see(log, [*places, *places], "replay diff", WHO, CLOCK)
    assert [place for act in acts(log) for place in act.places] == [str(place) for place in places]
    assert len({act.id for act in acts(log)}) == 3
    await about_to_see(log, [], "replay diff", WHO, CLOCK)
    assert acts(log)[3].places == (), "that somebody looked is told all the same"


@pytest.mark.parametrize(
    ("by", "reason", "option"),
    [
        ("", "why", "--by"),
        ("who", "  ", "--reason"),
        ("x" * 201, "why", "--by"),
        ("who", None, "--reason"),
        ("who", "x" * 1001, "--reason"),
    ],
)
def test_nobody_acts_without_saying_who_and_why(by: str, reason: str | None, option: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"tail: {option}"):
        actor("tail", by, reason)
    assert actor("tail", " Pat ", " why ") == Actor("Pat", "why")
    assert actor("tail", None, "why").by == login_name()


async def test_one_who_follows_is_shown_what_is_there_and_then_what_comes(log: FakeEventLog) -> None:
    await put(log, topics.HL7_RAW.name, 2)
    following = seen(log, log.read(topics.HL7_RAW.name, follow=True), "tail", WHO, CLOCK)
    async with asyncio.timeout(10):
        assert [(await anext(following)).key, (await anext(following)).key]
        assert [len(act.places) for act in acts(log)] == [2]
        coming = asyncio.ensure_future(anext(following))
        await put(log, topics.HL7_RAW.name, 1)
        record = await coming
    assert acts(log)[-1].places == (str(record.place),)


async def test_a_failure_of_what_is_read_is_told(log: FakeEventLog) -> None:
    async def broken() -> AsyncIterator[Record]:
        async for record in log.read(topics.HL7_RAW.name):
            yield record
        raise BrokerUnavailable("read", "hl7.v2.raw", "gone")

    await put(log, topics.HL7_RAW.name, 1)
    with pytest.raises(BrokerUnavailable, match="gone"):
        async for _ in seen(log, broken(), "tail", WHO, CLOCK):
            pass


async def test_who_looks_at_acts_makes_no_acts_for_ever(log: FakeEventLog) -> None:
    await audited(log, "looked.case", looked("case", WHO, at=START))
    await put(log, topics.MODELS.name, 1)
    for topic in (topics.AUDIT.name, topics.MODELS.name):
        assert len([record async for record in seen(log, log.read(topic), "tail", WHO, CLOCK)]) == 1
    assert len(acts(log)) == 1


def test_the_same_look_at_another_time_is_another_act() -> None:
    first, again = (looked("case", WHO, at=at, subject="a" * 64) for at in (CLOCK.now(), CLOCK.now()))
    assert first.id != again.id
    assert looked("case", WHO, at=first.time, subject="a" * 64) == first


def test_an_act_holds_no_number_of_a_patient() -> None:
    subject = hashed_accession_number(KEY, "ACC-77^HOSPITAL")
    act = looked("case", WHO, at=START, subject=subject)
    assert "ACC-77" not in act.model_dump_json()
    assert subject == hashed_accession_number(KEY, " ACC-77")
    assert subject != hashed_accession_number(KEY[1:] + b"\x01", "ACC-77")
    assert keyed_hash(KEY, "patient", "ACC-77") != subject
    # printf 'accession-number|ACC-77' | openssl dgst -sha256 -mac hmac -macopt hexkey:00..00
    assert subject == "f78e75ceba7b148b958e4b255107b8b5b3ce8e9d619085dfdbfce21e7a933c9b"


def test_somebody_is_at_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert login_name()

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert login_name() == f"uid {os.getuid()}"


# --------------------------------------------------------------------------------------------------------- the key


def test_the_key_is_made_once_and_is_its_owners(tmp_path: Path) -> None:
    file = tmp_path / "audit" / "key"
    key = hash_key(file)
    assert (len(key), hash_key(file), file.read_text()) == (32, key, key.hex() + "\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_of_two_that_make_it_at_once_one_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    link = os.link

    def slower(made: Path, to: Path) -> None:
        to.write_text("ab" * 32)
        link(made, to)

    monkeypatch.setattr("os.link", slower)
    assert hash_key(file) == b"\xab" * 32
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("text", ["", "ab" * 31, "no key at all", "\N{SNOWMAN}"])
def test_a_key_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text, "utf-8")
    with pytest.raises(SettingsInvalid, match="RADSTREAM_AUDIT__HASH_KEY_FILE"):
        hash_key(file)
    assert file.read_text("utf-8") == text


def test_a_key_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsInvalid, match="cannot be read or made"):
        hash_key(tmp_path / "file" / "key")

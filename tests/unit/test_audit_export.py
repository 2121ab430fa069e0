"""`radstream audit export`: every thing that was done, once, with its patients; and who took them out."""

from __future__ import annotations

import json
import stat
from base64 import b64decode
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from schemas.acts import Looked
from schemas.errors import BrokerUnavailable, SettingsInvalid
from schemas.ports import Place, Record
from streams import topics
from streams.audit import exporting
from streams.audit.acts import Actor
from streams.audit.exporting import Count, Export, begun, exported, renderer, surroundings
from streams.settings import Settings
from tests.contract.fake_event_log import START
from tests.unit.audited_acts import PATIENT, Yesterday, act, one_of_everything
from tests.unit.packages import CLOCK

WHO = Actor("A. Lin", "monthly review")
FORMATS = ("balp", "dicom", "syslog")
SECRETS = ("MRN-4711", "MRN-1", "DOE", "ACC-1")


@pytest.fixture
def day() -> Yesterday:
    return Yesterday()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(run_folder=tmp_path / "run", audit={"hash_key_file": tmp_path / "key"})  # type: ignore[arg-type]


async def lines(day: Yesterday, settings: Settings, export: Export, count: Count | None = None) -> list[str]:
    spans = await begun(day.log, day.history, export, WHO, CLOCK)
    render = renderer(settings, export.format)
    return [line async for line in exported(day.history, settings, export, spans, render, count or Count())]


@pytest.mark.parametrize("format", FORMATS)
async def test_everything_is_a_line(day: Yesterday, settings: Settings, format: str) -> None:
    await one_of_everything(day)
    count = Count()
    written = await lines(day, settings, Export(format), count)
    assert len(written) == count.written == 18
    assert not [line for line in written if "\n" in line or "\r" in line]
    assert PATIENT is not None
    together = "".join(written)
    assert PATIENT.value in together
    assert "MRN-1" in together
    assert "DOE" not in together, "a number and who assigned it name the patient well enough"
    assert count.unresolved == 0


@pytest.mark.parametrize("format", FORMATS)
async def test_without_patients_nothing_of_them_is_in_it(day: Yesterday, settings: Settings, format: str) -> None:
    await one_of_everything(day)
    before = len(day.log.records(topics.AUDIT.name))
    written = "".join(await lines(day, settings, Export(format, patients=False)))
    assert not [secret for secret in SECRETS if secret in written]
    assert len(day.log.records(topics.AUDIT.name)) == before, "then nobody has seen patient data"


@pytest.mark.parametrize("format", FORMATS)
async def test_the_same_log_gives_the_same_export(day: Yesterday, settings: Settings, format: str) -> None:
    await one_of_everything(day)
    first = await lines(day, settings, Export(format, patients=False))
    assert await lines(day, settings, Export(format, patients=False)) == first
    assert len(set(first)) == len(first)


async def test_who_exports_patients_is_audited_first(day: Yesterday, settings: Settings) -> None:
    await one_of_everything(day)
    written = await lines(day, settings, Export("balp"))
    last = Looked.model_validate_json(day.log.records(topics.AUDIT.name)[-1].value)
    assert (last.what, last.by, last.reason) == ("audit export", WHO.by, WHO.reason)
    assert "monthly review" not in "".join(written), "the export begins with what was there before it"
    again = await lines(day, settings, Export("balp"))
    assert "monthly review" in "".join(again)


async def test_nothing_is_exported_when_it_cannot_be_audited(day: Yesterday, settings: Settings) -> None:
    await one_of_everything(day)
    day.log.away = True
    with pytest.raises(BrokerUnavailable):
        await begun(day.log, day.history, Export("balp"), WHO, CLOCK)


async def test_since_and_until(day: Yesterday, settings: Settings) -> None:
    written = [await day.act(act(Looked, what="tail", reason=f"number {number}")) for number in range(4)]
    some = await lines(day, settings, Export("balp", written[1].timestamp, written[3].timestamp, patients=False))
    assert [one for one in range(4) if f"number {one}" in "".join(some)] == [1, 2]


async def test_what_retention_took_is_counted(day: Yesterday, settings: Settings) -> None:
    await one_of_everything(day)
    for topic in (topics.HL7_RAW, topics.RESULTS):
        (record,) = day.log.records(topic.name)
        day.history.remove_before(topic.name, record.place.partition, 1)
    count = Count()
    together = "".join(await lines(day, settings, Export("balp"), count))
    assert count.unresolved == 4, "two looks and two deliveries; the dead letter holds its message itself"
    assert PATIENT is not None
    assert PATIENT.value not in together


async def test_many_are_looked_up_a_few_at_a_time(day: Yesterday, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_TOGETHER", 3)
    for number in range(7):
        await day.act(act(Looked, what="tail", reason=f"number {number}"))
    told: list[int] = []
    export = Export("dicom")
    spans = await begun(day.log, day.history, export, WHO, CLOCK)
    render = renderer(settings, "dicom")
    written = [line async for line in exported(day.history, settings, export, spans, render, Count(), told.append)]
    assert [f"number {one}" in _reason(line) for one, line in enumerate(written)] == [True] * 7
    assert told == [3, 6, 7]


def _reason(line: str) -> str:
    (detail,) = (one for one in ElementTree.fromstring(line).iter("ParticipantObjectDetail") if one.get("type") == "reason")
    return b64decode(detail.get("value") or "").decode()


def test_a_file_is_its_owners_and_whole_or_absent(tmp_path: Path) -> None:
    out = tmp_path / "audit.ndjson"
    with exporting._written_to(out) as file:
        file.write("línea\n")
        assert not out.exists()
    assert out.read_bytes() == "línea\n".encode()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600

    def interrupted() -> None:
        with exporting._written_to(out) as file:
            file.write("half")
            raise BrokerUnavailable("read", "radstream.audit", "gone")

    with pytest.raises(BrokerUnavailable):
        interrupted()
    assert [one.name for one in tmp_path.iterdir()] == ["audit.ndjson"]
    assert out.read_bytes() == "línea\n".encode(), "what was there stays"
    with pytest.raises(SettingsInvalid, match="cannot be written"), exporting._written_to(tmp_path / "no" / "file"):
        pass


def test_who_may_write_to_the_folder_cannot_read_the_export(tmp_path: Path) -> None:
    """Shared folders: a file or a link that waits under the name."""
    out, theirs = tmp_path / "audit.ndjson", tmp_path / "theirs"
    theirs.write_text("theirs")
    for waiting in (out, tmp_path / "audit.ndjson.unfinished"):
        waiting.symlink_to(theirs)
    with theirs.open() as held, exporting._written_to(out) as file:
        file.write("MRN-1")
        file.flush()
        made = [one for one in tmp_path.iterdir() if one.is_file() and not one.is_symlink() and one != theirs]
        assert [stat.S_IMODE(one.stat().st_mode) for one in made] == [0o600]
        assert held.read() == "theirs"
    assert (theirs.read_text(), out.read_text(), out.is_symlink()) == ("theirs", "MRN-1", False)
    out.chmod(0o644)
    with exporting._written_to(out) as file:
        file.write("again")
    assert (stat.S_IMODE(out.stat().st_mode), out.read_text()) == (0o600, "again")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsInvalid, match="cannot be written"), exporting._written_to(tmp_path / "folder"):
        pass
    assert not list(tmp_path.glob(".*")), "nothing is left behind"


def test_addresses_hold_no_credentials(tmp_path: Path) -> None:
    secret = "https://user:s3cret@fhir.hospital:8443/r4?token=s3cret#s3cret"
    told: dict[str, Any] = {
        "fhir": [{"name": "more", "url": secret}],
        "archive": [{"name": "pacs"}],
        "oru": [{"name": "ris", "address": "127.0.0.1:2600"}],
        "webhook": [{"name": "hook", "url": secret, "secret_file": str(tmp_path / "secret")}],
    }
    here = surroundings(Settings(fhir={"url": secret}, destinations=told))  # type: ignore[arg-type]
    assert {name: (one.kind, one.address) for name, one in here.receivers.items()} == {
        "fhir": ("fhir", "https://fhir.hospital:8443/r4"),
        "more": ("fhir", "https://fhir.hospital:8443/r4"),
        "pacs": ("archive", "http://127.0.0.1:8042/dicom-web"),
        "ris": ("oru", "127.0.0.1:2600"),
        "hook": ("webhook", "https://fhir.hospital:8443/r4"),
    }
    assert here.receiver("more#lung-panel") == here.receivers["more"]
    assert here.machine
    elsewhere = {"bootstrap": "kafka.hospital:9092", "allow_plaintext_beyond_loopback": True}
    assert surroundings(Settings(kafka=elsewhere)).machine is None, "the engine may run on several"  # type: ignore[arg-type]


async def test_hostile_words_stay_words(day: Yesterday, settings: Settings) -> None:
    """Whoever may write to the log must not be able to forge a second line, or an element."""
    hostile = 'x"/><AuditMessage>\r\n<85>1 - - - - - - forged\x00\x1b[2J\N{LINE SEPARATOR}'
    await day.act(act(Looked, what="tail", by=hostile, reason=hostile))
    letter = tuple((name, hostile.encode()) for name in ("topic", "step", "error", "reason", "ce_type", "ce_id"))
    day.log.topics[topics.DEAD_LETTERS.name][0].append(Record(Place(topics.DEAD_LETTERS.name, 0, 0), b"k", b"v", letter, START))
    for format in FORMATS:
        written = await lines(day, settings, Export(format, patients=False))
        assert len(written) == 2
        for line in written:
            assert len(line.splitlines()) == 1, format
            if format == "balp":
                assert json.loads(line)["resourceType"] == "AuditEvent"
            else:
                xml = line[line.index("<AuditMessage>") :]
                assert [one.tag for one in ElementTree.fromstring(xml).iter("AuditMessage")] == ["AuditMessage"]

"""What somebody put into the archive where no chain is: everybody reads it, so it is never as it was signed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rich.console import Console

from connectors.objects import in_memory
from schemas.history import Span
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.audit import verify_command
from streams.audit.faults import Fault
from streams.audit.signing import Signer
from streams.audit.uncovered import spans_of, uncovered
from streams.audit.verified import Sources, Told, verify
from streams.audit.verifying import Copy
from streams.audit_settings import AuditSettings
from streams.segments.history import ArchivedHistory
from streams.settings import Settings
from tests.contract.archived_log import archive
from tests.unit.notarised import RESULTS, Notarised


class Day:
    """Forty results of one partition. `archived`: the topics that the settings name."""

    def __init__(self, folder: Path) -> None:
        self.log, self.objects = Notarised(folder), in_memory()
        self.records: list[Record] = []
        self.partition = 0
        self.archived: tuple[str, ...] = (RESULTS,)

    async def begin(self, count: int = 40) -> None:
        await self.log.log.append([Outgoing(RESULTS, b"1.2.3", b"findings %d" % number) for number in range(count)])
        self.partition = next(n for n, records in enumerate(self.log.log.topics[RESULTS]) if records)
        self.records = list(self.log.log.topics[RESULTS][self.partition])

    async def archive(self, first: int, end: int) -> None:
        await archive(self.objects, self.records[first:end])

    def retention(self, offset: int) -> None:
        self.log.history.remove_before(RESULTS, self.partition, offset)

    def span(self, first: int, end: int) -> Span:
        return Span(RESULTS, self.partition, first, end)

    @property
    def history(self) -> ArchivedHistory:
        return ArchivedHistory(self.objects, self.log.history, self.archived)

    async def verify(self, *signers: Signer, files: Sequence[Path] = ()) -> Told:
        history = self.history
        copy = Copy(history, history.holes, self.archived, kept=history.kept)
        keys = {name: key for one in signers or (self.log.signer,) for name, key in one.keys.items()}
        return await verify(self.log.history, Sources(files or [self.log.file]), keys, archive=copy)


@pytest.fixture
async def day(tmp_path: Path) -> Day:
    found = Day(tmp_path)
    await found.begin()
    return found


def only(told: Told) -> Fault:
    (fault,) = told.faults
    assert (fault.kind, fault.place.split("/")[0]) == ("uncovered", RESULTS)
    return fault


async def test_a_partition_that_somebody_invented(day: Day) -> None:
    await day.log.sign()
    await day.archive(0, 40)
    assert (await day.verify()).well
    await archive(day.objects, [replace(day.records[0], place=Place(RESULTS, 9, 4), value=b"made up")])
    told = await day.verify()
    fault = only(told)
    assert (fault.place, fault.first, fault.end) == (f"{RESULTS}/9", 4, 5)
    assert "the broker never had this partition" in fault.line()
    assert told.later == {}, "it is no news that waits for the notary"


@pytest.mark.parametrize("forged", [True, False], ids=["somebody put it in", "it is older than the notary"])
async def test_what_stands_before_the_first_checkpoint(day: Day, forged: bool) -> None:
    """Both look the same, and neither is as it was signed."""
    day.retention(10)
    await day.log.sign()
    await day.archive(10, 40)
    assert (await day.verify()).well
    if forged:
        day.records[:10] = [replace(one, value=b"made up") for one in day.records[:10]]
    await day.archive(0, 10)
    fault = only(await day.verify())
    assert (fault.first, fault.end) == (0, 10)
    assert "no checkpoint covers them: they are older than the notary" in fault.line()


async def test_what_the_broker_never_had_behind_its_end(day: Day) -> None:
    await day.log.sign()
    await day.archive(0, 40)
    await archive(day.objects, [replace(day.records[0], place=Place(RESULTS, day.partition, 45), value=b"made up")])
    fault = only(await day.verify())
    assert (fault.first, fault.end) == (45, 46)


async def test_a_partition_whose_chain_has_not_begun_is_news(day: Day) -> None:
    other = (day.partition + 1) % len(day.log.log.topics[RESULTS])
    await day.log.sign()
    await day.archive(0, 40)
    news = [replace(one, place=Place(RESULTS, other, one.place.offset)) for one in day.records[:12]]
    day.log.log.topics[RESULTS][other] += news
    await archive(day.objects, news)
    told = await day.verify()
    assert told.well and told.later == {f"{RESULTS}/{other}": 12}
    day.log.history.remove_before(RESULTS, other, 5)  # quicker than the notary
    told = await day.verify()
    fault = only(told)
    assert (fault.place, fault.first, fault.end) == (f"{RESULTS}/{other}", 0, 5)
    assert told.later == {f"{RESULTS}/{other}": 7}


async def test_news_behind_the_last_checkpoint_is_no_fault(day: Day) -> None:
    await day.log.sign()
    await day.log.log.append([Outgoing(RESULTS, b"1.2.3", b"more")])
    day.records = list(day.log.log.topics[RESULTS][day.partition])
    await day.archive(0, 41)
    told = await day.verify()
    assert told.well and told.later == {f"{RESULTS}/{day.partition}": 1}


async def test_what_retention_takes_while_it_is_verified_was_there(day: Day) -> None:
    history = day.history
    before = await spans_of(day.log.history, [RESULTS])
    await day.archive(0, 40)
    day.retention(30)
    assert await uncovered(history.kept, day.log.history, before, [], [RESULTS]) == []


async def test_a_topic_that_was_deleted_is_in_the_archive_as_it_was_signed(day: Day) -> None:
    await day.log.sign()
    await day.archive(0, 40)
    del day.log.log.topics[RESULTS]
    assert {fault.kind for fault in (await day.verify()).faults} == {"removed"}, "on the broker it is gone"


async def test_what_another_key_has_signed_is_covered_when_it_is_named(day: Day, tmp_path: Path) -> None:
    await day.log.sign()
    await day.archive(0, 40)
    old, old_file = day.log.signer, day.log.file.rename(tmp_path / "old.jsonl")
    day.retention(30)
    day.log.signer = Signer(Ed25519PrivateKey.generate())
    day.log.restart()
    await day.log.sign()
    assert (await day.verify(old, day.log.signer, files=[old_file, day.log.file])).well
    *others, fault = (await day.verify()).faults
    assert {one.kind for one in others} == {"checkpoint"}, "on the topic there are those of another key"
    assert (fault.first, fault.end) == (0, 30) and "--public-key" in fault.line()


async def test_a_topic_that_no_notary_signs_is_never_called_well(day: Day) -> None:
    await day.log.sign()
    await day.archive(0, 40)
    orders = topics.ORDERS.name
    day.archived = RESULTS, orders, topics.CHECKPOINTS.name
    assert (await day.verify()).well, "nothing of it is archived yet; and checkpoints are signed themselves"
    await archive(day.objects, [replace(day.records[0], place=Place(orders, 3, 0))])
    fault = (await day.verify()).faults[0]
    assert fault.line() == f"{orders}: is archived, and no checkpoint covers it: not verified"
    day.archived = (RESULTS,)
    assert (await day.verify()).well, "then nobody reads it there"


async def test_the_command_never_says_that_it_is_as_it_was_signed(
    day: Day, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await day.log.sign()
    await archive(day.objects, [replace(day.records[0], place=Place(RESULTS, 9, 0))])
    (key,) = day.log.signer.keys.values()
    (tmp_path / "notary.pub").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    monkeypatch.setattr(verify_command, "open_history", lambda _: nullcontext(day.history))
    monkeypatch.setattr(verify_command, "live_history_for", lambda _: nullcontext(day.log.history))
    audit = AuditSettings(key_file=tmp_path / "notary.key", checkpoint_file=day.log.file)
    console = Console(file=io.StringIO(), width=200)
    assert not await verify_command.run_verify(Settings(audit=audit), [], [], console, as_json=False)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{RESULTS}/9 offsets 0: are in the archive" in said and "All is as it was signed" not in said

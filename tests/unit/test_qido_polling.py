"""Any archive's list of recent studies, compared with that of last time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from connectors.pacs.qidopoll import QidoPolling
from schemas.errors import ArchiveUnavailable
from tests.unit.http_peer import Handler, http_peer


@dataclass
class Archive:
    """Studies: uid -> (instances, patient, accession number, study date)."""

    studies: dict[str, tuple[int, str, str, str]] = field(default_factory=dict)
    #: the server's own limit of a page
    limit: int = 1000
    asked: list[str] = field(default_factory=list)
    answer: tuple[int, str, bytes] | None = None

    def reply(self, handler: Handler) -> None:
        self.asked.append(handler.path)
        if self.answer is not None:
            return handler.answer(*self.answer)
        query = parse_qs(urlsplit(handler.path).query)
        begin, end = query["StudyDate"][0].split("-")
        recent = [(uid, row) for uid, row in self.studies.items() if begin <= row[3] <= end]
        offset, limit = int(query["offset"][0]), min(int(query["limit"][0]), self.limit)
        page = [
            {
                "0020000D": {"vr": "UI", "Value": [uid]},
                "00201208": {"vr": "IS", "Value": [count]},
                "00100020": {"vr": "LO", "Value": [patient]},
                "00080050": {"vr": "SH", "Value": [accession]},
                "00080020": {"vr": "DA", "Value": [day]},
            }
            for uid, (count, patient, accession, day) in recent[offset : offset + limit]
        ]
        handler.answer(200 if page else 204, "application/dicom+json", json.dumps(page).encode() if page else b"")
        return None


@dataclass
class Hands:
    """A clock that a test moves."""

    time: datetime = datetime(2026, 11, 25, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


@dataclass
class Polled:
    """The source, asked again and again from the position it gave."""

    source: QidoPolling
    clock: Hands
    position: str | None = None

    async def look(self, later: timedelta = timedelta(seconds=5)) -> dict[str, bool]:
        """What is noticed, and whether as removed."""
        self.clock.time += later
        batch = await self.source.noticed_since(self.position)
        self.position = batch.position
        assert all(one.source == "qido" and not one.settled and one.time == self.clock.time for one in batch.notices)
        return {str(one.study_instance_uid): one.removed for one in batch.notices}


@asynccontextmanager
async def polled(archive: Archive) -> AsyncIterator[Polled]:
    clock = Hands()
    with http_peer(archive.reply) as url:
        source = QidoPolling(url, clock, days=3, interval_s=5, timeout_s=5)
        yield Polled(source, clock)
        source.close()


def study(count: int = 1, patient: str = "P1", accession: str = "A1", day: str = "20261125") -> tuple[int, str, str, str]:
    return count, patient, accession, day


async def test_new_and_grown_studies_are_noticed_once() -> None:
    archive = Archive({"1.2.1": study(), "1.2.2": study(2)})
    async with polled(archive) as list_:
        assert await list_.look() == {"1.2.1": False, "1.2.2": False}
        assert await list_.look() == {}
        archive.studies["1.2.2"] = study(3)
        assert await list_.look() == {"1.2.2": False}
        assert await list_.look() == {}


@pytest.mark.parametrize("after", [study(1), study(2, patient="P2"), study(2, accession="A2")])
async def test_a_deleted_image_a_corrected_patient_and_a_corrected_number_are_removals(after: tuple[int, str, str, str]) -> None:
    archive = Archive({"1.2.1": study(2), "1.2.2": study()})
    async with polled(archive) as list_:
        await list_.look()
        archive.studies["1.2.1"] = after
        assert await list_.look() == {"1.2.1": True}


async def test_a_study_that_is_gone_is_a_removal() -> None:
    archive = Archive({"1.2.1": study(), "1.2.2": study()})
    async with polled(archive) as list_:
        await list_.look()
        del archive.studies["1.2.1"]
        assert await list_.look() == {"1.2.1": True}
        assert await list_.look() == {}


async def test_a_study_that_has_become_too_old_for_the_list_is_not_gone() -> None:
    archive = Archive({"1.2.1": study(day="20261121"), "1.2.2": study()})
    async with polled(archive) as list_:
        assert await list_.look() == {"1.2.1": False, "1.2.2": False}
        assert await list_.look(timedelta(days=1)) == {}
        assert await list_.look(timedelta(days=9)) == {}


async def test_an_empty_list_is_not_believed() -> None:
    archive = Archive({"1.2.1": study(), "1.2.2": study()})
    async with polled(archive) as list_:
        await list_.look()
        kept, archive.studies = archive.studies, {}
        with pytest.raises(ArchiveUnavailable, match="its database"):
            await list_.look()
        archive.studies = kept
        assert await list_.look() == {}


async def test_a_list_without_most_studies_is_believed_after_ten_minutes() -> None:
    """An archive that was set up anew and has got its first study."""
    many = {f"1.2.{number}": study() for number in range(20)}
    archive = Archive(dict(many))
    async with polled(archive) as list_:
        await list_.look()
        archive.studies = {"1.3.1": study(), "1.2.1": study()}
        for _ in range(2):
            with pytest.raises(ArchiveUnavailable, match="19 of 20 studies are gone"):
                await list_.look()
        archive.studies = {uid: row for uid, row in many.items() if uid != "1.2.1"}
        assert await list_.look() == {"1.2.1": True}  # it was back in time; one is gone
        archive.studies = {"1.3.1": study()}
        with pytest.raises(ArchiveUnavailable):
            await list_.look(timedelta(minutes=20))
        assert await list_.look(timedelta(minutes=11)) == {uid: True for uid in many if uid != "1.2.1"} | {"1.3.1": False}


async def test_all_pages_are_read_also_of_a_server_with_a_limit_of_its_own() -> None:
    archive = Archive({f"1.2.{n}": study() for n in range(1, 26)}, limit=10)
    async with polled(archive) as list_:
        assert len(await list_.look()) == 25


async def test_a_server_that_knows_no_offset_does_not_hold_us() -> None:
    archive = Archive()
    row = {"0020000D": {"vr": "UI", "Value": ["1.2.1"]}, "00201208": {"vr": "IS", "Value": [1]}}
    archive.answer = (200, "application/dicom+json", json.dumps([row]).encode())
    async with polled(archive) as list_:
        assert await list_.look() == {"1.2.1": False}
        assert len(archive.asked) == 2


async def test_it_is_not_asked_before_its_time() -> None:
    archive = Archive({"1.2.1": study()})
    async with polled(archive) as list_:
        await list_.look()
        asked = len(archive.asked)
        assert await list_.look(timedelta(seconds=4.9)) == {}
        assert len(archive.asked) == asked
        await list_.look(timedelta(seconds=0.1))
        assert len(archive.asked) > asked


async def test_one_row_that_breaks_the_standard_does_not_block_the_others() -> None:
    archive = Archive({"not a uid": study(), "1.2.1": study()})
    async with polled(archive) as list_:
        assert await list_.look() == {"1.2.1": False}


async def test_a_removal_that_was_not_kept_is_told_again() -> None:
    """The log was away: the position stays, and from it the same is noticed."""
    archive = Archive({"1.2.1": study(2), "1.2.2": study()})
    async with polled(archive) as list_:
        await list_.look()
        position = list_.position
        archive.studies["1.2.1"] = study(1)
        assert await list_.look() == {"1.2.1": True}
        list_.position = position
        assert await list_.look() == {"1.2.1": True}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((401, "text/plain", b""), ArchiveUnavailable),
        ((404, "text/plain", b""), ArchiveUnavailable),
        ((500, "text/plain", b""), ArchiveUnavailable),
        ((400, "text/plain", b""), ArchiveUnavailable),
        ((200, "text/html", b"<html>"), ArchiveUnavailable),
        ((200, "application/dicom+json", b"{"), ArchiveUnavailable),
    ],
)
async def test_an_answer_that_is_no_list_changes_nothing(answer: tuple[int, str, bytes], error: type[Exception]) -> None:
    archive = Archive({"1.2.1": study(), "1.2.2": study()})
    async with polled(archive) as list_:
        await list_.look()
        archive.answer = answer
        with pytest.raises(error):
            await list_.look()
        archive.answer = None
        assert await list_.look() == {}

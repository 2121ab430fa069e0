"""What the change feed does when studies, or the whole archive, cannot be described."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from connectors.pacs.orthanc import TRIES, OrthancChanges
from schemas.errors import AccessRefused, ArchiveUnavailable, InvalidResource, ItemNotServed, ResourceRefused, StudyIncomplete
from schemas.identifiers import StudyInstanceUID
from schemas.ports import StudyDescription
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.unit.http_peer import Handler, http_peer

_ITEM = ItemNotServed("describe", "study", "HTTP status 500")
Describe = Callable[[str], Exception | None]


class Orthanc:
    """Studies by name; each a StableStudy change, with a NewInstance change before it."""

    def __init__(self, *studies: str) -> None:
        self.studies = list(studies)
        self.deleted: set[str] = set()
        #: studies whose StableStudy change is never written, and whether they are stable all the same
        self.unstable: dict[str, bool] = {}
        #: status of the answer to requests for these paths
        self.failing: dict[str, int] = {}

    def reply(self, handler: Handler) -> None:
        path, _, query = handler.path.partition("?")
        if path in self.failing:
            return handler.answer(self.failing[path], "text/html", b"<html>")
        if path == "/system":
            return _json(handler, {"Name": "Orthanc"})
        if path == "/changes":
            asked = dict(part.split("=") for part in query.split("&"))
            changes = [
                {"ChangeType": kind, "Date": "20260102T030405", "ID": name, "Seq": 2 * n + step}
                for n, name in enumerate(self.studies)
                for step, kind in ((1, "NewInstance"), (2, "StablePatient" if name in self.unstable else "StableStudy"))
                if 2 * n + step > int(asked["since"])
            ]
            page = changes[: int(asked["limit"])]
            last = page[-1]["Seq"] if page else 2 * len(self.studies)
            return _json(handler, {"Changes": page, "Done": len(page) == len(changes), "Last": last})
        if path == "/tools/bulk-content":
            asked_for = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
            assert asked_for["Level"] == "Study"
            return _json(
                handler,
                [
                    {"ID": name, "IsStable": self.unstable.get(name, True), "LastUpdate": "20260102T030400"}
                    for name in asked_for["Resources"]
                    if name not in self.deleted
                ],
            )
        name = path.removeprefix("/studies/")
        if name in self.deleted:
            return handler.answer(404, "application/json", b"{}")
        return _json(handler, {"MainDicomTags": {"StudyInstanceUID": name if name.startswith("bad") else f"1.2.{name}"}})


class Archive(FakeStudyArchive):
    def __init__(self, failing: Describe) -> None:
        super().__init__()
        self._failing = failing

    async def describe(self, study: StudyInstanceUID) -> StudyDescription:
        error = self._failing(study.removeprefix("1.2."))
        if error is not None:
            raise error
        return StudyDescription(study, None, None, ())


def _json(handler: Handler, value: object) -> None:
    handler.answer(200, "application/json", json.dumps(value).encode())


def _fails(error: type[Exception], *studies: str) -> Describe:
    return lambda study: error("describe", study, "why") if study in studies or not studies else None


@asynccontextmanager
async def _changes(orthanc: Orthanc, failing: Describe = lambda study: None) -> AsyncIterator[OrthancChanges]:
    with http_peer(orthanc.reply) as url:
        changes = OrthancChanges(url, Archive(failing), timeout_s=5)
        yield changes
        changes.close()


async def _read(changes: OrthancChanges, position: str | None) -> tuple[list[str], str | None]:
    batch = await changes.completed_since(position)
    return [event.study_instance_uid.removeprefix("1.2.") for event in batch.completed], batch.position


async def _refused(changes: OrthancChanges, position: str | None, *, tries: int = 1) -> list[tuple[str, type[Exception]]]:
    for _ in range(tries):
        batch = await changes.completed_since(position)
    return [(json.loads(refused.change)["ID"], type(refused.error)) for refused in batch.refused]


async def test_stable_studies_and_then_nothing_new() -> None:
    async with _changes(Orthanc("1", "2")) as changes:
        assert await _read(changes, None) == (["1", "2"], "4")
        assert await _read(changes, "4") == ([], "4")
        assert await _read(changes, "2") == (["2"], "4")


async def test_all_pages_are_read_once() -> None:
    orthanc = Orthanc(*(str(n) for n in range(1, 131)))
    async with _changes(orthanc) as changes:
        seen: list[str] = []
        position: str | None = None
        while True:
            studies, following = await _read(changes, position)
            if following == position:
                break
            seen += studies
            position = following
    assert seen == orthanc.studies


@pytest.mark.parametrize("error", [InvalidResource, ResourceRefused])
async def test_one_broken_study_does_not_block_those_behind_it(error: type[Exception]) -> None:
    async with _changes(Orthanc("1", "2", "3"), _fails(error, "2")) as changes:
        assert await _read(changes, None) == (["1", "3"], "6")
        (refused,) = (await changes.completed_since(None)).refused
        assert json.loads(refused.change) == {"ChangeType": "StableStudy", "Date": "20260102T030405", "ID": "2", "Seq": 4}
        assert type(refused.error) is error
        assert refused.time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def test_a_study_on_which_the_archive_fails_once_is_not_lost() -> None:
    failing = True
    async with _changes(Orthanc("1", "2", "3"), lambda study: _ITEM if failing and study == "2" else None) as changes:
        assert await _read(changes, None) == (["1", "3"], "3")
        assert await _refused(changes, "3") == []
        failing = False
        assert await _read(changes, "3") == (["2", "3"], "6")


async def test_a_study_on_which_the_archive_fails_for_good_does_not_block() -> None:
    async with _changes(Orthanc("1", "2", "3"), _fails(ItemNotServed, "2")) as changes:
        for _ in range(TRIES - 1):
            assert await _read(changes, None) == (["1", "3"], "3")
        assert await _refused(changes, None) == [("2", ItemNotServed)]
        assert await _read(changes, None) == (["1", "3"], "6")


async def test_an_archive_that_fails_on_every_study_loses_none() -> None:
    async with _changes(Orthanc("1", "2"), _fails(ItemNotServed)) as changes:
        for _ in range(2 * TRIES):
            with pytest.raises(ArchiveUnavailable):
                await changes.completed_since(None)


async def test_a_forgotten_study_on_which_the_archive_fails_is_waited_for() -> None:
    orthanc = Orthanc("1", "2")
    orthanc.unstable = {"1": True}
    async with _changes(orthanc, _fails(ItemNotServed, "1")) as changes:
        for _ in range(TRIES - 1):
            assert await _read(changes, None) == (["2"], "4 1")
        assert await _read(changes, None) == (["2"], "4")
        assert await _refused(changes, None) == [("1", ItemNotServed)]


async def test_a_study_that_orthanc_itself_fails_on_does_not_block() -> None:
    orthanc = Orthanc("1", "2", "3")
    orthanc.failing = {"/studies/2": 500}
    async with _changes(orthanc) as changes:
        assert await _refused(changes, None, tries=TRIES) == [("2", ItemNotServed)]


@pytest.mark.parametrize("status", [500, 503])
async def test_an_orthanc_that_is_not_well_is_no_single_study(status: int) -> None:
    orthanc = Orthanc("1", "2", "3")
    orthanc.failing = {"/studies/2": 500, "/system": status}
    async with _changes(orthanc) as changes:
        with pytest.raises(ArchiveUnavailable):
            await changes.completed_since(None)


@pytest.mark.parametrize("path", ["/changes", "/tools/bulk-content"])
async def test_a_feed_that_fails_is_no_single_study(path: str) -> None:
    orthanc = Orthanc("1")
    orthanc.failing = {path: 500}
    async with _changes(orthanc) as changes:
        with pytest.raises(ArchiveUnavailable):
            await changes.completed_since(None)


async def test_a_broken_study_at_the_end_is_tried_again_until_a_later_one_works() -> None:
    orthanc = Orthanc("1", "2")
    async with _changes(orthanc, _fails(InvalidResource, "2")) as changes:
        assert await _read(changes, None) == (["1"], "3")
        assert await _refused(changes, None) == []
        with pytest.raises(ArchiveUnavailable):
            await changes.completed_since("3")
        orthanc.studies.append("3")
        assert await _read(changes, "3") == (["3"], "6")
        assert await _refused(changes, "3") == [("2", InvalidResource)]


async def test_a_later_study_is_found_however_far_behind() -> None:
    orthanc = Orthanc(*(f"9{n}" for n in range(150)), "1")
    async with _changes(orthanc, _fails(InvalidResource, *(f"9{n}" for n in range(150)))) as changes:
        assert await _read(changes, None) == (["1"], str(2 * 151))


async def test_an_archive_that_answers_rubbish_for_every_study_loses_none() -> None:
    orthanc = Orthanc("1", "2", "3")
    broken = True
    async with _changes(orthanc, lambda study: InvalidResource("describe", study, "HTML") if broken else None) as changes:
        for _ in range(3):
            with pytest.raises(ArchiveUnavailable):
                await changes.completed_since(None)
        broken = False
        assert await _read(changes, None) == (["1", "2", "3"], "6")


async def test_a_dicomweb_service_that_is_away_loses_none() -> None:
    """404 for a study that Orthanc itself still holds."""
    async with _changes(Orthanc("1", "2"), _fails(StudyIncomplete)) as changes:
        with pytest.raises(ArchiveUnavailable):
            await changes.completed_since(None)


async def test_a_study_that_only_the_dicomweb_service_does_not_know_does_not_block() -> None:
    async with _changes(Orthanc("1", "2"), _fails(StudyIncomplete, "1")) as changes:
        assert await _refused(changes, None, tries=TRIES) == [("1", ItemNotServed)]


async def test_a_study_without_a_valid_uid_does_not_block() -> None:
    async with _changes(Orthanc("bad-uid", "2")) as changes:
        assert await _read(changes, None) == (["2"], "4")
        assert await _refused(changes, None) == [("bad-uid", InvalidResource)]


async def test_deleted_studies_are_no_fault() -> None:
    orthanc = Orthanc("1", "2")
    orthanc.deleted = {"1", "2"}
    async with _changes(orthanc) as changes:
        assert await _read(changes, None) == ([], "4")
        assert await _refused(changes, None) == []


@pytest.mark.parametrize("error", [ArchiveUnavailable, AccessRefused])
async def test_what_concerns_the_whole_archive_is_raised(error: type[Exception]) -> None:
    async with _changes(Orthanc("1", "2"), _fails(error, "2")) as changes:
        with pytest.raises(error):
            await changes.completed_since(None)


async def test_a_study_that_orthanc_forgot_is_found_when_it_is_stable() -> None:
    """Restarted before it said so: no StableStudy change ever comes."""
    orthanc = Orthanc("1", "2")
    orthanc.unstable = {"2": False}
    async with _changes(orthanc) as changes:
        assert await _read(changes, None) == (["1"], "4 2")
        assert await _read(changes, "4 2") == ([], "4 2")
        orthanc.unstable = {"2": True}
        assert await _read(changes, "4 2") == (["2"], "4")


async def test_a_forgotten_study_that_is_deleted_is_waited_for_no_longer() -> None:
    orthanc = Orthanc("1")
    orthanc.deleted = {"1"}
    async with _changes(orthanc) as changes:
        assert await _read(changes, "2 1") == ([], "2")


async def test_a_forgotten_study_that_is_broken_waits_for_one_that_works() -> None:
    orthanc = Orthanc("1")
    orthanc.unstable = {"1": True}
    async with _changes(orthanc, _fails(InvalidResource, "1")) as changes:
        assert await _read(changes, None) == ([], "2 1")
        orthanc.studies.append("2")
        assert await _read(changes, "2 1") == (["2"], "4")
        (refused,) = (await changes.completed_since("2 1")).refused
        assert json.loads(refused.change) == {"ChangeType": "StableStudy", "Date": "20260102T030400", "ID": "1"}
        assert refused.time == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


async def test_an_image_that_comes_after_the_study_was_stable_makes_it_unstable_again() -> None:
    orthanc = Orthanc("1", "2")
    async with _changes(orthanc) as changes:
        assert await _read(changes, None) == (["1", "2"], "4")
        orthanc.studies.append("1")
        orthanc.unstable = {"1": False}
        assert await _read(changes, "4") == ([], "6 1")


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("content", [b"<html></html>", b"[]", b"{}", b'{"Changes": []}'])
async def test_another_server_at_the_address_is_not_orthanc(status: int, content: bytes) -> None:
    with http_peer(lambda handler: handler.answer(status, "text/html", content)) as url:
        changes = OrthancChanges(url, FakeStudyArchive(), timeout_s=5)
        with pytest.raises(ArchiveUnavailable):
            await changes.completed_since(None)
        changes.close()

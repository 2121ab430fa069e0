"""What the change feed does when studies, or the whole archive, cannot be described."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from connectors.pacs.orthanc import OrthancChanges
from schemas.errors import AccessRefused, ArchiveUnavailable, InvalidResource, ResourceRefused, StudyIncomplete
from schemas.identifiers import StudyInstanceUID
from schemas.ports import StudyDescription
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.unit.http_peer import Handler, http_peer

Describe = Callable[[str], Exception | None]


class Orthanc:
    """Studies by name; each a StableStudy change, with a NewInstance change before it."""

    def __init__(self, *studies: str) -> None:
        self.studies = list(studies)
        self.deleted: set[str] = set()
        #: studies whose StableStudy change is never written, and whether they are stable all the same
        self.unstable: dict[str, bool] = {}

    def reply(self, handler: Handler) -> None:
        path, _, query = handler.path.partition("?")
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
    completed, position = await changes.completed_since(position)
    return [event.study_instance_uid.removeprefix("1.2.") for event in completed], position


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


async def test_a_broken_study_at_the_end_is_tried_again_until_a_later_one_works() -> None:
    orthanc = Orthanc("1", "2")
    async with _changes(orthanc, _fails(InvalidResource, "2")) as changes:
        assert await _read(changes, None) == (["1"], "3")
        with pytest.raises(ArchiveUnavailable):
            await changes.completed_since("3")
        orthanc.studies.append("3")
        assert await _read(changes, "3") == (["3"], "6")


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


async def test_a_study_without_a_valid_uid_does_not_block() -> None:
    async with _changes(Orthanc("bad-uid", "2")) as changes:
        assert await _read(changes, None) == (["2"], "4")


async def test_deleted_studies_are_passed_over() -> None:
    orthanc = Orthanc("1", "2")
    orthanc.deleted = {"1", "2"}
    async with _changes(orthanc) as changes:
        assert await _read(changes, None) == ([], "4")


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

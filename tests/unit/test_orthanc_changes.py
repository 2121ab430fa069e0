"""What Orthanc's change feed makes of stable, forgotten and deleted studies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from connectors.pacs.orthanc import OrthancChanges
from schemas.errors import ArchiveUnavailable, InvalidResource
from tests.unit.http_peer import Handler, http_peer


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
                    {
                        "ID": name,
                        "IsStable": self.unstable.get(name, True),
                        "LastUpdate": "20260102T030400",
                        "MainDicomTags": {"StudyInstanceUID": name if name.startswith("bad") else f"1.2.{name}"},
                    }
                    for name in dict.fromkeys(asked_for["Resources"])
                    if name not in self.deleted
                ],
            )
        raise AssertionError(path)


def _json(handler: Handler, value: object) -> None:
    handler.answer(200, "application/json", json.dumps(value).encode())


@asynccontextmanager
async def _changes(orthanc: Orthanc, *, forgotten_after_s: float = 0) -> AsyncIterator[OrthancChanges]:
    with http_peer(orthanc.reply) as url:
        changes = OrthancChanges(url, timeout_s=5, forgotten_after_s=forgotten_after_s)
        yield changes
        changes.close()


async def _read(changes: OrthancChanges, position: str | None) -> tuple[list[str], str | None]:
    batch = await changes.noticed_since(position)
    return [event.study_instance_uid.removeprefix("1.2.") for event in batch.notices], batch.position


async def _refused(changes: OrthancChanges, position: str | None) -> list[tuple[str, type[Exception]]]:
    batch = await changes.noticed_since(position)
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


@pytest.mark.parametrize("path", ["/changes", "/tools/bulk-content"])
async def test_a_feed_that_fails_is_no_single_study(path: str) -> None:
    orthanc = Orthanc("1")
    orthanc.failing = {path: 500}
    async with _changes(orthanc) as changes:
        with pytest.raises(ArchiveUnavailable):
            await changes.noticed_since(None)


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


async def test_a_study_that_orthanc_forgot_is_found_when_it_is_stable() -> None:
    """Restarted before it said so: no StableStudy change ever comes."""
    orthanc = Orthanc("1", "2")
    orthanc.unstable = {"2": False}
    async with _changes(orthanc) as changes:
        assert await _read(changes, None) == (["1"], "4 2")
        assert await _read(changes, "4 2") == ([], "4 2")
        orthanc.unstable = {"2": True}
        assert await _read(changes, "4 2") == (["2"], "4")


async def test_a_change_that_orthanc_is_about_to_write_is_not_taken_for_forgotten() -> None:
    """Its resource says stable a moment before the feed does: one study, one notice."""
    orthanc = Orthanc("1")
    orthanc.unstable = {"1": True}
    async with _changes(orthanc, forgotten_after_s=60) as changes:
        assert await _read(changes, None) == ([], "2 1")
        orthanc.unstable = {}  # now it is written
        assert await _read(changes, "1 1") == (["1"], "2")


async def test_a_change_that_is_not_written_for_so_long_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """From when its resource first said stable, however often that is asked."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("connectors.pacs.orthanc.time", SimpleNamespace(monotonic=lambda: clock.now))
    orthanc = Orthanc("1")
    orthanc.unstable = {"1": True}
    async with _changes(orthanc, forgotten_after_s=10) as changes:
        for seconds in (100.0, 105.0, 109.0):
            clock.now = seconds
            assert await _read(changes, "2 1") == ([], "2 1")
        clock.now = 110.0
        assert await _read(changes, "2 1") == (["1"], "2")


async def test_a_forgotten_study_that_is_deleted_is_waited_for_no_longer() -> None:
    orthanc = Orthanc("1")
    orthanc.deleted = {"1"}
    async with _changes(orthanc) as changes:
        assert await _read(changes, "2 1") == ([], "2")


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
        changes = OrthancChanges(url, timeout_s=5)
        with pytest.raises(ArchiveUnavailable):
            await changes.noticed_since(None)
        changes.close()

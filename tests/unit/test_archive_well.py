"""One study or all? After most failures the archive is asked whether it is well: a study that fails goes its own way, an archive
that fails, or refuses us, is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connectors.archive_access import ArchiveAccess
from schemas.errors import (
    AccessRefused,
    ArchiveUnavailable,
    ItemNotServed,
    RadstreamError,
    ResourceRefused,
    StudyIncomplete,
)
from tests.contract.example_images import part10
from tests.unit.archive_peer import (
    IMAGE,
    IMPATIENT_S,
    REFERENCE,
    STUDY,
    always,
    archive_at,
    cut_short,
    drip_body,
    fails_on_the_study,
    good,
    hang,
    too_large,
    typed,
)
from tests.unit.http_peer import Handler, http_peer


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, ArchiveUnavailable),
        (400, ResourceRefused),
        (401, ArchiveUnavailable),
        (403, ArchiveUnavailable),
        (404, ArchiveUnavailable),
        (406, ResourceRefused),
        (408, ArchiveUnavailable),
        (410, StudyIncomplete),
        (429, ArchiveUnavailable),
        (500, ArchiveUnavailable),
        (503, ArchiveUnavailable),
    ],
)
async def test_a_status_is_a_named_error(status: int, error: type[RadstreamError]) -> None:
    with http_peer(always(status)) as url:
        async with archive_at(url) as archive:
            with pytest.raises(error):
                await archive.describe(STUDY)
            with pytest.raises(error) as caught:
                await archive.instance(STUDY, REFERENCE)
            assert "Secret" not in str(caught.value)
            with pytest.raises(error):
                await archive.store([part10(IMAGE)])


_LOG_IN = typed("text/html", b"<html>Secret^Name</html>")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (always(302), AccessRefused),
        (always(401), AccessRefused),
        (always(403), AccessRefused),
        (always(404), StudyIncomplete),
        (always(500), ItemNotServed),
        (always(502), ItemNotServed),
        (always(504), ItemNotServed),
        (_LOG_IN, ItemNotServed),
        (cut_short, ItemNotServed),
    ],
)
async def test_what_a_well_archive_says_is_about_the_item(reply: Callable[[Handler], None], error: type[RadstreamError]) -> None:
    with http_peer(lambda handler: (reply if STUDY in handler.path else good)(handler)) as url:
        async with archive_at(url) as archive:
            with pytest.raises(error):
                await archive.describe(STUDY)
            with pytest.raises(error) as caught:
                await archive.instance(STUDY, REFERENCE)
            assert "Secret" not in str(caught.value)


async def test_the_question_whether_it_is_well_names_no_study_that_it_holds() -> None:
    """The first that it lists may be the one it fails on."""

    def reply(handler: Handler) -> None:
        nobodys = "StudyInstanceUID=2.25.0" in handler.path
        handler.answer(200 if nobodys else 500, "application/dicom+json", b"[]")

    with http_peer(reply) as url:
        async with archive_at(url) as archive:
            with pytest.raises(ItemNotServed):
                await archive.describe(STUDY)


async def test_an_empty_archive_is_well_too() -> None:
    """204: no matches, as QIDO-RS may say it."""
    with http_peer(fails_on_the_study(500, lambda handler: handler.answer(204, "", b""))) as url:
        async with archive_at(url) as archive:
            with pytest.raises(ItemNotServed):
                await archive.describe(STUDY)


@pytest.mark.parametrize("status", [408, 429, 503])
async def test_other_statuses_never_are(status: int) -> None:
    with http_peer(fails_on_the_study(status, good)) as url:
        async with archive_at(url) as archive:
            with pytest.raises(ArchiveUnavailable):
                await archive.describe(STUDY)


_NO_LIST = typed("application/json", b'{"error": "log in"}')
_NO_JSON = typed("application/dicom+json", b"[")


@pytest.mark.parametrize(
    "otherwise", [always(401), always(404), always(503), _LOG_IN, _NO_LIST, _NO_JSON, cut_short, too_large, hang, drip_body]
)
async def test_what_an_archive_says_that_is_not_well_is_a_pause(otherwise: Callable[[Handler], None]) -> None:
    with http_peer(fails_on_the_study(500, otherwise)) as url:
        async with archive_at(url, timeout_s=IMPATIENT_S, pool_size=1) as archive:
            start = time.monotonic()
            with pytest.raises(ArchiveUnavailable):
                await archive.describe(STUDY)
            assert time.monotonic() - start < 4 * IMPATIENT_S


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "renew token_file"), (403, "let this user or token read"), (302, "check its address")]
)
async def test_an_archive_that_refuses_everything_says_what_a_person_must_do(status: int, remedy: str) -> None:
    with http_peer(always(status)) as url:
        async with archive_at(url) as archive:
            with pytest.raises(ArchiveUnavailable, match=f"{status}.*every question.*{remedy}"):
                await archive.describe(STUDY)
            with pytest.raises(ArchiveUnavailable, match=remedy):  # what doctor asks
                await archive.answers()


async def test_the_alarm_comes_once_and_again_after_it_was_well(tmp_path: Path) -> None:
    """Not with each try of each study, of which there are many while a token is expired."""
    token, valid = tmp_path / "token", "first"
    token.write_text("first")

    def reply(handler: Handler) -> None:
        (good if handler.headers["Authorization"] == f"Bearer {valid}" else always(401))(handler)

    async def refused() -> None:
        with pytest.raises(ArchiveUnavailable):
            await archive.instance(STUDY, REFERENCE)

    with http_peer(reply) as url, capture_logs() as logged:
        async with archive_at(url, access=ArchiveAccess(token_file=token)) as archive:
            await archive.instance(STUDY, REFERENCE)
            valid = "second"
            await refused()
            await refused()
            token.write_text("second")
            await archive.instance(STUDY, REFERENCE)  # by itself
            valid = "third"
            await refused()
    told = [(line["log_level"], line.get("alarm", False)) for line in logged]
    assert told == [("error", True), ("info", False), ("error", True)]
    assert "renew token_file" in logged[0]["error"]
    assert "second" not in str(logged)


async def test_a_study_that_is_refused_alone_raises_no_alarm_of_the_archive() -> None:
    with http_peer(fails_on_the_study(403, good)) as url, capture_logs() as logged:
        async with archive_at(url) as archive:
            with pytest.raises(AccessRefused, match="403"):
                await archive.instance(STUDY, REFERENCE)
    assert logged == []

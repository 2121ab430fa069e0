"""What is posted to the webhook over real sockets: what is taken, and what is answered to the rest."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from connectors.pacs.webhook import BODY_LIMIT
from schemas.errors import BrokerUnavailable
from schemas.notices import StudyNoticed
from tests.unit.webhook_caller import NAME, NOON, STUDY, listening, post
from tests.unit.webhook_caller import token_file as token_file  # the fixture `token`


async def test_what_is_posted_is_on_the_log_when_the_caller_is_thanked(token: Path) -> None:
    async with listening(token) as caller:
        whole = {
            "study_instance_uid": STUDY,
            "accession_number": "A7",
            "issuer_of_accession_number": "RIS",
            "instances": ["1.2.1", "1.2.2"],
            "instance_count": 2,
            "settled": True,
            "removed": False,
            "source_ae_title": "CR1",
            "id": "change 17",
        }
        answer = await caller.post(whole)
        [notice] = caller.told
        assert (answer.status_code, answer.json()) == (202, {"id": str(notice.id)})
        assert notice == StudyNoticed.model_validate({
            "id": notice.id,
            "time": NOON,
            "source": "webhook",
            "source_position": "change 17",
            "study_instance_uid": STUDY,
            "accession_number": {"value": "A7", "assigner": "RIS"},
            "settled": True,
            "instances": ("1.2.1", "1.2.2"),
            "instance_count": 2,
            "source_ae_title": "CR1",
        })  # fmt: skip


async def test_the_accession_number_alone_is_of_the_default_assigner(token: Path) -> None:
    async with listening(token) as caller:
        assert (await caller.post({"accession_number": "A7"})).status_code == 202
        [notice] = caller.told
        assert (str(notice.accession_number), notice.study_instance_uid, notice.settled) == ("A7^SITE", None, False)


async def test_a_repeat_is_the_same_notice(token: Path) -> None:
    async with listening(token) as caller:
        for body in (
            {"study_instance_uid": STUDY},
            {"study_instance_uid": STUDY},
            {"study_instance_uid": STUDY, "settled": True},
            {"study_instance_uid": STUDY, "id": "7"},
            {"study_instance_uid": STUDY, "id": "7", "settled": True},
            {"study_instance_uid": "1.2.841", "id": "7"},
        ):
            assert (await caller.post(body)).status_code == 202
        bare, again, settled, named, named_again, other = (notice.id for notice in caller.told)
        assert (bare, named) == (again, named_again)
        assert len({bare, settled, named, other}) == 4


async def test_while_the_broker_is_away_the_caller_must_come_again(token: Path) -> None:
    async with listening(token) as caller:
        caller.broker = BrokerUnavailable("append", "imaging.notices", "no answer")
        answer = await caller.post({"study_instance_uid": STUDY})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        caller.broker = None
        assert (await caller.post({"study_instance_uid": STUDY})).status_code == 202


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"study_instance_uid": NAME}, "study_instance_uid: StudyInstanceUID is not a DICOM UID"),
        ({"study_instance_uid": STUDY, "instances": ["1.2", NAME]}, "instances.1: SOPInstanceUID is not a DICOM UID"),
        ({"study_instance_uid": STUDY, "instances": NAME}, "instances: Input should be a valid array"),
        ({"study_instance_uid": STUDY, "instance_count": NAME}, "instance_count: Input should be a valid integer"),
        ({"study_instance_uid": STUDY, "instance_count": -1}, "instance_count: Input should be greater"),
        ({"study_instance_uid": STUDY, "settled": NAME}, "settled: Input should be a valid boolean"),
        ({"study_instance_uid": STUDY, "settled": "true"}, "settled: Input should be a valid boolean"),
        ({"study_instance_uid": STUDY, "source_ae_title": NAME * 2}, "source_ae_title: String should match"),
        ({"accession_number": {NAME: NAME}}, "accession_number: Input should be a valid string"),
        ({"accession_number": NAME * 50}, "accession_number: String should have at most 250"),
        ({"study_instance_uid": STUDY, NAME: NAME}, "a field that is not known; there are id, study_instance_uid,"),
        ({"study_instance_uid": STUDY, "hint": True}, "a field that is not known"),
        ({"study_instance_uid": STUDY, "issuer_of_accession_number": NAME}, "goes with accession_number"),
        ({}, "name the study_instance_uid, or else the accession_number"),
        ([NAME], "Input should be an object"),
        (NAME, "Input should be an object"),
    ],
)
async def test_what_is_wrong_is_named_and_not_repeated(token: Path, body: Any, field: str) -> None:
    with capture_logs() as logs:
        async with listening(token) as caller:
            answer = await caller.post(body)
            assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json; charset=utf-8")
            assert field in answer.json()["detail"]
            assert caller.told == []
    assert "Mustermann" not in answer.text + json.dumps(logs)
    assert [(one["event"], one["status"]) for one in logs] == [("a notice is not taken", 400)]


@pytest.mark.parametrize("body", [NAME.encode(), b"", b'{"study_instance_uid": "1.2"', b"\xff\xfe{}", b"[" * 5000, b"<study/>"])
async def test_what_is_no_json_is_refused(token: Path, body: bytes) -> None:
    async with listening(token) as caller:
        answer = await caller.ask("POST", "/studies", data=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert "Invalid JSON" in answer.json()["detail"]
        assert "Mustermann" not in answer.text


async def test_other_paths_methods_and_types(token: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with listening(token) as caller:
        assert (await caller.ask("GET", f"/{NAME}")).status_code == 404
        assert NAME not in (await caller.ask("GET", f"/{NAME}")).text
        wrong = await caller.ask("GET", "/studies")
        assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")
        for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/json", "Content-Encoding": "gzip"}):
            assert (await caller.ask("POST", "/studies", data=b"{}", headers=headers)).status_code == 415
    assert [record.name for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_who_does_the_same_wrong_again_is_one_line(token: Path) -> None:
    with capture_logs() as logs:
        async with listening(token) as caller:
            for body in ({}, {}, [], {}):
                await caller.post(body)
    assert [line["reason"].partition(" ")[0] for line in logs] == ["name", "Input"]


async def test_a_body_that_is_too_large(token: Path) -> None:
    large = {"study_instance_uid": STUDY, "source_ae_title": "x" * BODY_LIMIT}
    async with listening(token) as caller:
        assert (await caller.post(large)).status_code == 413
        chunked = await caller.ask(
            "POST", "/studies", data=iter([b"x" * BODY_LIMIT, b"x"]), headers={"Content-Type": "application/json"}
        )
        assert chunked.status_code == 413
        reader, writer = await asyncio.open_connection("127.0.0.1", caller.port)
        writer.write(post(b"", length=BODY_LIMIT + 1))
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 "), "before it has come"
        writer.close()


async def test_an_error_of_our_own_is_told_without_its_words(token: Path) -> None:
    with capture_logs() as logs:
        async with listening(token) as caller:
            caller.broker = ValueError(NAME)
            answer = await caller.post({"study_instance_uid": STUDY})
            assert answer.status_code == 500
    [line] = logs
    assert (line["event"], line["error"]) == ("a request failed", "ValueError")
    assert "Mustermann" not in answer.text + json.dumps(logs)

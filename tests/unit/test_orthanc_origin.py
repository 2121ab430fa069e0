"""What is made of Orthanc's answers to the question who sent a study."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

from connectors.pacs.orthanc_origin import OrthancOrigin
from schemas.errors import ArchiveUnavailable, ItemNotServed
from schemas.identifiers import StudyInstanceUID
from tests.unit.http_peer import Handler, http_peer

STUDY = StudyInstanceUID("1.2.3")
FOUND = [{"ID": "s", "Path": "/studies/s", "Type": "Study"}, {"ID": "p", "Path": "/patients/p", "Type": "Patient"}]


def came(at: str, *title: str) -> dict[str, Any]:
    return {"ID": at, "Metadata": {"ReceptionDate": f"20260101T{at}"} | ({"RemoteAET": title[0]} if title else {})}


async def sent_by(found: Any, instances: Any, status: int = 200) -> str | None:
    """Of an Orthanc that finds these for the study."""

    def reply(handler: Handler) -> None:
        if handler.path == "/system":
            return handler.answer(200, "application/json", b"{}")
        said = handler.rfile.read(int(handler.headers["Content-Length"]))
        if handler.path == "/tools/lookup":
            assert said == b"1.2.3"
            return handler.answer(status, "application/json", json.dumps(found).encode())
        assert json.loads(said) == {"Resources": ["s"], "Level": "Instance", "Metadata": True}
        return handler.answer(200, "application/json", json.dumps(instances).encode())

    with http_peer(reply) as url, closing(OrthancOrigin(url, timeout_s=5)) as origin:
        return await origin.sent_by(STUDY)


@pytest.mark.parametrize(
    ("instances", "title"),
    [
        ([came("120000", "CR1"), came("120002", "CR2"), came("120001", "CR3")], "CR2"),
        ([came("120000", "CR1"), came("120001", "")], None),
        ([came("120000", "CR1 "), came("120000", "")], "CR1"),
        ([came("120000")], None),
        ([], None),
    ],
)
async def test_the_newest_counts(instances: list[dict[str, Any]], title: str | None) -> None:
    assert await sent_by(FOUND, instances) == title


async def test_a_study_that_it_does_not_know() -> None:
    assert await sent_by([], AssertionError) is None


@pytest.mark.parametrize(
    ("found", "instances"), [(None, []), ([{}], []), (FOUND, {}), (FOUND, [{}]), (FOUND, [{"Metadata": None}])]
)
async def test_what_is_no_orthanc_is_waited_for(found: Any, instances: Any) -> None:
    with pytest.raises(ArchiveUnavailable, match="not as Orthanc"):
        await sent_by(found, instances)


async def test_a_question_that_fails_alone_parks_its_study() -> None:
    with pytest.raises(ItemNotServed):
        await sent_by(FOUND, [], status=500)

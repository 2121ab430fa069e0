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


IMAGE, MARKS = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.11.1"


def came(*title: str, as_a: str = IMAGE) -> dict[str, Any]:
    return {"ID": "i", "Metadata": {"SopClassUid": as_a} | ({"RemoteAET": title[0]} if title else {})}


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
        ([came("CR1"), came("CR1 ")], "CR1"),
        ([came("CR1"), came("RESEARCH")], None),
        ([came("PRIORS"), came()], None),
        ([came("PRIORS"), came("READING1", as_a=MARKS), came(as_a=MARKS)], "PRIORS"),
        ([came("SR1", as_a=MARKS)], "SR1"),
        ([{"ID": "i", "Metadata": {"RemoteAET": "OLD"}}], "OLD"),
        ([came()], None),
        ([], None),
    ],
)
async def test_whoever_sent_all_images_sent_the_study(instances: list[dict[str, Any]], title: str | None) -> None:
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

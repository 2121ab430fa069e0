"""What a rejection note takes out of use; and one that cannot be read takes out everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from connectors.rejection_notes import rejected_by
from schemas.errors import ItemNotServed, StudyIncomplete
from schemas.identifiers import StudyInstanceUID
from tests.contract.example_images import radiograph, study_of, uid_of
from tests.contract.example_key_objects import OF_INTEREST, REJECTED_FOR_QUALITY, key_object
from tests.unit.archive_peer import IMAGE, STUDY, always, archive_at, dicom_json
from tests.unit.http_peer import Handler, http_peer

OTHER = radiograph(StudyInstanceUID=IMAGE.StudyInstanceUID)
TITLE, EVIDENCE = "0040A043", "0040A375"
SERIES, INSTANCES, INSTANCE = "00081115", "00081199", "00081155"


def note(*named: Any, title: str = REJECTED_FOR_QUALITY) -> dict[str, Any]:
    said: dict[str, Any] = key_object(title, named or [IMAGE], study=STUDY).to_json_dict()
    return said


def test_it_names_instances_of_its_study() -> None:
    assert rejected_by(note(IMAGE, OTHER), STUDY) == {uid_of(IMAGE), uid_of(OTHER)}


def test_those_of_another_study_are_not_its_own() -> None:
    another = radiograph()
    assert rejected_by(note(another, IMAGE), STUDY) == {uid_of(IMAGE)}
    assert rejected_by(note(another), STUDY) == frozenset()


def test_the_code_is_dicoms() -> None:
    said = note()
    said[TITLE]["Value"][0]["00080102"]["Value"] = ["99HOSPITAL"]
    assert rejected_by(said, STUDY) == frozenset()


def test_a_version_of_the_coding_scheme_changes_nothing() -> None:
    """Seen: CodingSchemeVersion 01 (dcm4chee-arc-light issue 1293)."""
    said = note()
    said[TITLE]["Value"][0]["00080103"] = {"vr": "SH", "Value": ["01"]}
    assert rejected_by(said, STUDY) == {uid_of(IMAGE)}


def test_what_is_no_rejection_note_may_be_broken() -> None:
    said = note(title=OF_INTEREST)
    del said[EVIDENCE]
    assert rejected_by(said, STUDY) == frozenset()


def _lost(*path: str) -> Callable[[dict[str, Any]], None]:
    def lose(said: dict[str, Any]) -> None:
        for tag in path[:-1]:
            said = said[tag]["Value"][0]
        del said[path[-1]]

    return lose


def _one_item_is_null(said: dict[str, Any]) -> None:
    said[EVIDENCE]["Value"].append(None)


def _broken_uid(said: dict[str, Any]) -> None:
    said[EVIDENCE]["Value"][0][SERIES]["Value"][0][INSTANCES]["Value"][0][INSTANCE]["Value"] = ["1.02"]


BROKEN = [
    _lost(TITLE),
    _lost(TITLE, "00080100"),
    _lost(TITLE, "00080102"),
    _lost(EVIDENCE),
    _lost(EVIDENCE, "0020000D"),
    _lost(EVIDENCE, SERIES),
    _lost(EVIDENCE, SERIES, INSTANCES),
    _lost(EVIDENCE, SERIES, INSTANCES, INSTANCE),
    _one_item_is_null,
    _broken_uid,
]


@pytest.mark.parametrize("breaks", BROKEN)
def test_one_that_does_not_tell_says_so(breaks: Callable[[dict[str, Any]], None]) -> None:
    said = note()
    breaks(said)
    with pytest.raises(ValueError, match="UID|sequence|title"):
        rejected_by(said, STUDY)


class Archive:
    """IMAGE, OTHER and `notes` key objects, whose metadata `reply` answers."""

    def __init__(self, reply: Callable[[Handler], None], notes: int = 1) -> None:
        self.notes = [key_object(REJECTED_FOR_QUALITY, [IMAGE], study=STUDY) for _ in range(notes)]
        self._reply = reply
        self.asked = 0

    def answer(self, handler: Handler) -> None:
        path = handler.path.partition("?")[0]
        if not path.endswith("/metadata"):
            there = [] if "2.25.0" in handler.path else [IMAGE, OTHER, *self.notes]
            return handler.answer(200, "application/dicom+json", dicom_json(*there))
        if any(str(one.SOPInstanceUID) in path for one in self.notes):
            self.asked += 1
            return self._reply(handler)
        asked = next(one for one in (IMAGE, OTHER) if str(one.SOPInstanceUID) in path)
        return handler.answer(200, "application/dicom+json", dicom_json(asked))


def _said(content: bytes) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(200, "application/dicom+json", content)


@pytest.mark.parametrize("reply", [_said(b"["), _said(b"[]"), _said(dicom_json(OTHER)), always(403), always(406)])
async def test_one_that_can_never_be_read_rejects_all_images_of_its_study_and_a_person_is_told(
    reply: Callable[[Handler], None],
) -> None:
    """Else a finding could stay on the wrong patient, for reasons that nobody can read."""
    with http_peer(Archive(reply).answer) as url, capture_logs() as logged:
        async with archive_at(url) as archive:
            described = await archive.describe(STUDY)
    assert (described.images, described.rejected) == ((), {uid_of(IMAGE), uid_of(OTHER)})
    assert [(line["log_level"], line["alarm"]) for line in logged] == [("error", True)]
    assert "Secret" not in str(logged)


@pytest.mark.parametrize(("status", "error"), [(404, StudyIncomplete), (500, ItemNotServed)])
async def test_one_that_may_be_read_later_is_waited_for(status: int, error: type[Exception]) -> None:
    with http_peer(Archive(always(status)).answer) as url:
        async with archive_at(url) as archive:
            with pytest.raises(error):
                await archive.describe(STUDY)


async def test_so_many_that_they_are_not_read_reject_all() -> None:
    peer = Archive(always(500), notes=101)
    with http_peer(peer.answer) as url, capture_logs() as logged:
        async with archive_at(url, size_limit=1_000_000) as archive:
            described = await archive.describe(STUDY)
    assert (described.images, peer.asked, len(logged)) == ((), 0, 1)


async def test_the_header_that_speaks_for_the_study_is_not_that_of_a_rejected_image() -> None:
    """The wrong patient's, say."""
    wrong = radiograph(PatientID="WRONG", SOPInstanceUID="1.2.3")
    right = radiograph(PatientID="RIGHT", SOPInstanceUID="1.2.4", StudyInstanceUID=wrong.StudyInstanceUID)
    rejecting = key_object(REJECTED_FOR_QUALITY, [wrong], study=wrong.StudyInstanceUID)

    def reply(handler: Handler) -> None:
        there = [wrong, right, rejecting]
        asked = [one for one in there if f"/{one.SOPInstanceUID}/" in handler.path] or there
        handler.answer(200, "application/dicom+json", dicom_json(*asked))

    with http_peer(reply) as url:
        async with archive_at(url) as archive:
            described = await archive.describe(StudyInstanceUID(study_of(wrong)))
    assert described.patient is not None and described.patient.value == "RIGHT"

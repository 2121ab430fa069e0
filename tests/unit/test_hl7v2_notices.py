"""Which order and result messages say that a study may be there, and of which study."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schemas.errors import MalformedMessage
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Message
from schemas.hl7v2.notices import notices
from schemas.hl7v2.paths import places
from schemas.hl7v2.site import SenderHabits, Site
from schemas.identifiers import AccessionNumber, StudyInstanceUID
from schemas.notices import StudyNoticed

SITE = Site(default_assigner="HOSPITAL", accession_assigner="RIS")
RECEIVED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MSH = "MSH|^~\\&|HIS|H|||20260101120000||ORM^O01|C1|P|2.5.1"
ZDS = "ZDS|1.2.3^^Application^DICOM\r"
AVAILABLE = "OBX|7|TX|ImagesAvailable^ImagesAvailable|1|1\r"


def read(groups: str, site: Site = SITE, msh: str = MSH) -> list[StudyNoticed]:
    return list(notices(Reception(Message.parse(f"{msh}\rPID|||P1\r{groups}".encode()), site, RECEIVED)))


def group(*, orc_1: str = "SC", orc_5: str = "", obr_25: str = "", number: str = "ACC1") -> str:
    return f"ORC|{orc_1}|PL1|||{orc_5}\rOBR||PL1||||||||||||||||{number}|||||||{obr_25}\r"


def test_a_notice_of_a_completed_order() -> None:
    [notice] = read(group(orc_5="CM") + ZDS)
    assert (notice.source, notice.study_instance_uid, notice.accession_number) == ("hl7:orc-5", "1.2.3", None)
    assert (notice.hint, notice.settled, notice.removed, notice.time) == (True, False, False, RECEIVED)
    assert notice.key == "1.2.3"


def test_what_we_told_ourselves_is_no_notice() -> None:
    """Our own ORU, routed back to us."""
    ours = group(obr_25="R").replace("OBR||PL1||", "OBR||PL1||chest-radiograph-findings^AI^99RADSTREAM")
    assert read(group(obr_25="R"))
    assert read(ours) == []


def test_without_a_study_the_accession_number_counts() -> None:
    [notice] = read(group(orc_5="CM"))
    assert notice.study_instance_uid is None
    assert notice.accession_number == AccessionNumber(value="ACC1", assigner="RIS")
    [notice] = read(group(orc_5="CM") + "ZDS|1..2\r")
    assert notice.accession_number is not None, "what is no UID names no study"


def test_without_either_there_is_none() -> None:
    assert read(group(orc_5="CM", number="")) == []


def test_the_sites_places_count() -> None:
    habits = {"HIS|H": SenderHabits(study_instance_uid=places("ZSI-2"), accession_number=places("ZSI-1"))}
    site = SITE.model_copy(update={"senders": habits})
    assert [one.key for one in read(group(orc_5="CM") + ZDS + "ZSI|A9|1.9\r", site)] == ["1.9"]
    assert [one.key for one in read(group(orc_5="CM") + ZDS + "ZSI|A9\r", site)] == ["A9^RIS"]


@pytest.mark.parametrize("status", ["", "A", "CA", "CM", "DC", "ER", "HD", "IP", "RP", "SC", "cm", "Final"])
def test_orc_5(status: str) -> None:
    assert [one.source for one in read(group(orc_5=status))] == (["hl7:orc-5"] if status.upper() == "CM" else [])


@pytest.mark.parametrize("status", ["", *"OISAPCRFXYZ", "f", "Final", "Prelim", "Wet Read", "dictated", "\ufffd"])
def test_obr_25(status: str) -> None:
    """Of table 0123 those that report what was done; the site's words stand for them."""
    done = status.upper() in {"A", "P", "R", "F", "C", "FINAL", "PRELIM", "WET READ"}
    assert [one.source for one in read(group(orc_1="RE", obr_25=status))] == (["hl7:obr-25"] if done else [])


def test_a_site_for_which_an_empty_obr_25_is_final_does_not_make_every_order_a_notice() -> None:
    assert read(group(orc_1="NW"), SITE.model_copy(update={"result_status": {"": "F"}})) == []


def test_images_available() -> None:
    """ORM^O01 as the OpenMRS PACS integration takes it: nothing in ORC, and OBR-25 P."""
    bare = f"ORC|\rOBR|1||FI1{'|' * 22}P\r"
    [notice] = read(bare + AVAILABLE + ZDS)
    assert (notice.source, notice.study_instance_uid, notice.hint) == ("hl7:images-available", "1.2.3", True)
    [notice] = read("ORC|\rOBR|1||FI1\r" + AVAILABLE)
    assert (notice.source, notice.key) == ("hl7:images-available", "FI1^RIS")
    assert [one.source for one in read(bare + ZDS)] == ["hl7:obr-25"]


@pytest.mark.parametrize(
    "line",
    [
        AVAILABLE.replace("|1|1", "|1|0"),
        AVAILABLE.replace("|1|1", "|1|"),
        "OBX|7|TX|EventType|1|ImagesAvailable\r",
        "NTE|7|TX|ImagesAvailable|1|yes\r",
    ],
)
def test_images_that_are_not_said_to_be_available(line: str) -> None:
    assert read("ORC|\rOBR|1||FI1\r" + line + ZDS) == []


@pytest.mark.parametrize("orc_5", ["CA", "DC"])
def test_what_was_cancelled_is_not_asked_for(orc_5: str) -> None:
    assert read(group(orc_5=orc_5, obr_25="P") + AVAILABLE) == []


def test_results_of_earlier_orders_are_not_news() -> None:
    [notice] = read(group(orc_5="CM") + group(orc_1="PR", orc_5="CM", obr_25="F", number="OLD"))
    assert notice.key == "ACC1^RIS"


def test_one_for_each_study() -> None:
    two = group(orc_5="CM") + group(orc_5="CM", number="ACC2")
    assert [one.key for one in read(two)] == ["ACC1^RIS", "ACC2^RIS"]
    assert [one.key for one in read(two + ZDS)] == ["1.2.3"], "one ZDS at the end is of all groups"
    assert len({one.id for one in read(two)}) == 2


def test_the_same_bytes_have_the_same_ids() -> None:
    message = group(orc_5="CM")
    [first], [again], [other] = read(message), read(message), read(message, msh=MSH.replace("C1", "C2"))
    assert first == again
    assert first.id != other.id


def test_a_number_that_did_not_decode_is_no_number() -> None:
    with pytest.raises(MalformedMessage, match="OBR-18"):
        read(group(orc_5="CM", number="ACC\ufffd"))


def test_a_study_needs_no_number() -> None:
    assert read(group(orc_5="CM", number="ACC\ufffd") + ZDS)[0].study_instance_uid == StudyInstanceUID("1.2.3")

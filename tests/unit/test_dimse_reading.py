"""Instance Availability Notifications and performed procedure steps as data sets: what they say, and what is wrong with them."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from connectors.dimse.data_set import reading
from connectors.dimse.instance_availability import notice_of
from connectors.dimse.performed_procedure_step import PerformedStep, Status, begun, change_of, notices_of
from schemas.errors import MalformedMessage, MissingIdentifier, Rejected
from schemas.identifiers import SOPInstanceUID
from tests.unit.dimse_peer import NAME, change, notification, step

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
UID = SOPInstanceUID("1.2.840.1")

uids = st.lists(st.integers(0, 10**9), min_size=2, max_size=5).map(lambda parts: "1.2." + ".".join(map(str, parts)))


def received(data_set: Dataset, *, implicit: bool = False) -> Dataset:
    encoded = encode(data_set, implicit, True)
    assert encoded is not None
    return decode(BytesIO(encoded), implicit, True)


def of_step(data_set: Dataset) -> PerformedStep:
    return begun(received(data_set), "CALLING", "SITE")


@given(uids, st.dictionaries(uids, st.sampled_from(["ONLINE", "NEARLINE", "OFFLINE", "UNAVAILABLE"]), min_size=1), st.booleans())
def test_a_notification_names_what_can_be_had(study: str, instances: dict[str, str], implicit: bool) -> None:
    notice = notice_of(received(notification(study, instances), implicit=implicit), UID, NOON)
    assert notice.study_instance_uid == study
    assert notice.instances == tuple(uid for uid, said in instances.items() if said in ("ONLINE", "NEARLINE"))
    assert notice.removed == any(said in ("OFFLINE", "UNAVAILABLE") for said in instances.values())
    assert (notice.source, notice.source_ae_title, notice.hint, notice.settled) == ("dicom:ian", None, False, False)


@given(uids, uids, st.lists(uids, unique=True, max_size=5), st.booleans())
def test_a_completed_step_names_its_study_and_its_images(study: str, uid: str, instances: list[str], implicit: bool) -> None:
    created = begun(received(step(study), implicit=implicit), "CALLING", "SITE")
    done = change_of(received(change(one=instances), implicit=implicit))
    assert done.status is Status.COMPLETED
    kept = PerformedStep.model_validate_json(created.model_dump_json())
    assert kept == created
    [notice] = notices_of(kept.changed(done.series), SOPInstanceUID(uid), NOON)
    assert (notice.study_instance_uid, str(notice.accession_number)) == (study, "A7^SITE")
    assert (notice.instances, notice.hint) == (tuple(instances), not instances)
    assert (notice.source, notice.source_position, notice.source_ae_title) == ("dicom:mpps", uid, "CR1")


def test_objects_that_are_no_images_count_too() -> None:
    said = change(one=["1.2.1"])
    series = said.PerformedSeriesSequence[0]
    series.ReferencedNonImageCompositeSOPInstanceSequence = change(x=["1.2.2"]).PerformedSeriesSequence[0].ReferencedImageSequence
    assert of_step(step("1.2.99")).changed(change_of(received(said)).series).instances == ("1.2.1", "1.2.2")


def test_all_series_count_and_the_last_word_on_each() -> None:
    made = of_step(step("1.2.99"))
    for said in (change(None, a=["1.2.1"], bb=["1.2.2"]), change(None, bb=["1.2.3", "1.2.4"]), change(ccc=["1.2.5"])):
        made = made.changed(change_of(received(said)).series)
    assert made.instances == ("1.2.1", "1.2.3", "1.2.4", "1.2.5")


def test_of_several_studies_the_archive_says_whose_the_images_are() -> None:
    made = of_step(step("1.2.99", "1.2.98", "1.2.99")).changed(change_of(received(change(a=["1.2.1"]))).series)
    notices = notices_of(made, UID, NOON)
    assert [(one.study_instance_uid, one.instances, one.hint) for one in notices] == [("1.2.98", (), True), ("1.2.99", (), True)]
    assert notices[0].id != notices[1].id


def test_who_assigned_the_accession_number() -> None:
    data_set = step("1.2.99")
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3", "ISO"
    data_set.ScheduledStepAttributesSequence[0].IssuerOfAccessionNumberSequence = [issuer]
    assert str(of_step(data_set).studies[0].accession_number) == "A7^1.2.3"
    issuer.LocalNamespaceEntityID = "RIS"
    assert str(of_step(data_set).studies[0].accession_number) == "A7^RIS"


@pytest.mark.parametrize("number", ["", None, "Ärzte"])
def test_without_an_accession_number_the_study_is_known_all_the_same(number: str | None) -> None:
    assert of_step(step("1.2.99", number=number)).studies[0].accession_number is None  # type: ignore[arg-type]


def test_a_station_that_does_not_say_its_name_is_the_caller() -> None:
    assert of_step(step("1.2.99", station="")).station == "CALLING"


def _without(data_set: Dataset, *keywords: str) -> Dataset:
    item = data_set
    for keyword in keywords[:-1]:
        item = item[keyword].value[0]
    delattr(item, keywords[-1])
    return data_set


def _with(data_set: Dataset, value: Any, *keywords: str) -> Dataset:
    item = data_set
    for keyword in keywords[:-1]:
        item = item[keyword].value[0]
    delattr(item, keywords[-1])
    with disable_value_validation():
        setattr(item, keywords[-1], value)
    return data_set


SERIES, SOP = "ReferencedSeriesSequence", "ReferencedSOPSequence"


def an_ian() -> Dataset:
    return notification("1.2.99", {"1.2.1": "ONLINE"})


@pytest.mark.parametrize(
    ("data_set", "error", "reason"),
    [
        (_without(an_ian(), "StudyInstanceUID"), MissingIdentifier, "Study Instance UID is missing"),
        (_with(an_ian(), "", "StudyInstanceUID"), MissingIdentifier, "Study Instance UID is missing"),
        (_with(an_ian(), NAME, "StudyInstanceUID"), MalformedMessage, "Study Instance UID is no UID"),
        (_without(an_ian(), SERIES), MissingIdentifier, "names no instance"),
        (_without(an_ian(), SERIES, SOP), MissingIdentifier, "names no instance"),
        (_without(an_ian(), SERIES, SOP, "ReferencedSOPInstanceUID"), MissingIdentifier, "Instance UID is missing"),
        (_with(an_ian(), NAME, SERIES, SOP, "ReferencedSOPInstanceUID"), MalformedMessage, "Instance UID is no UID"),
        (_without(an_ian(), SERIES, SOP, "InstanceAvailability"), MissingIdentifier, "Availability is missing"),
        (_with(an_ian(), NAME, SERIES, SOP, "InstanceAvailability"), MalformedMessage, "value that is not known"),
        (Dataset(), MissingIdentifier, "Study Instance UID is missing"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_wrong_with_a_notification_is_named_and_not_repeated(data_set: Dataset, error: type[Rejected], reason: str) -> None:
    with pytest.raises(error, match=reason) as raised:
        notice_of(received(data_set), UID, NOON)
    assert "Mustermann" not in str(raised.value)


SCHEDULED = "ScheduledStepAttributesSequence"


@pytest.mark.parametrize(
    ("data_set", "error", "reason"),
    [
        (_without(step("1.2.99"), SCHEDULED), MissingIdentifier, "Scheduled Step Attributes Sequence is missing"),
        (step(), MissingIdentifier, "Scheduled Step Attributes Sequence is missing"),
        (_without(step("1.2.99"), SCHEDULED, "StudyInstanceUID"), MissingIdentifier, "Study Instance UID is missing"),
        (_with(step("1.2.99"), NAME, SCHEDULED, "StudyInstanceUID"), MalformedMessage, "Study Instance UID is no UID"),
        (step("1.2.99", status="COMPLETED"), MalformedMessage, "is not IN PROGRESS"),
        (step("1.2.99", status="MUSTERMANN"), MalformedMessage, "value that is not known"),
        (Dataset(), MissingIdentifier, "Scheduled Step Attributes Sequence is missing"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_wrong_with_a_step_is_named_and_not_repeated(data_set: Dataset, error: type[Rejected], reason: str) -> None:
    with pytest.raises(error, match=reason) as raised:
        of_step(data_set)
    assert "mustermann" not in str(raised.value).lower()


def test_a_sequence_that_is_none() -> None:
    data_set = Dataset()
    data_set.add_new(0x00400270, "LO", NAME)
    data_set.PerformedProcedureStepStatus = "IN PROGRESS"
    with pytest.raises(MalformedMessage, match="Scheduled Step Attributes Sequence is no sequence"):
        of_step(data_set)


@pytest.mark.filterwarnings("ignore")
def test_whatever_the_bytes_are_the_error_is_ours_and_quotes_nothing() -> None:
    """1,000 seeded mutations, and sequences in sequences until Python gives up."""
    dice = random.Random(20261125)
    whole = encode(step("1.2.99", PerformedProcedureStepDescription=NAME), False, True), encode(change(a=["1.2.1"]), True, True)
    outcomes, said = set(), list[str]()
    deep = b"\x40\x00\x40\x03SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20_000
    for turn in range(1000):
        implicit = turn % 2 == 1
        original = whole[implicit]
        assert original is not None
        content = bytearray(original)
        for _ in range(dice.randint(1, 6)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        del content[dice.randint(len(content) // 3, len(content)) :]
        try:
            with reading("dicom", "x"):
                data_set = decode(BytesIO(deep if turn == 0 else bytes(content)), implicit, True)
                begun(data_set, "CALLING", "SITE")
                change_of(data_set)
        except Rejected as error:
            said.append(str(error))
            outcomes.add(type(error).__name__)
        else:
            outcomes.add("read")
    assert outcomes == {"read", "MissingIdentifier", "MalformedMessage"}
    assert "Mustermann" not in "".join(said)

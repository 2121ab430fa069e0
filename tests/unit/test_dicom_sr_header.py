"""Of whom a structured report is, and when: as the archive says it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from io import BytesIO
from zoneinfo import ZoneInfo

import pytest
from pydicom import DataElement, Dataset, config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag

from schemas.renderings.dicom.evidence import Evidence
from schemas.renderings.dicom.structured_report import structured_report
from tests.contract.example_evidence import evidence_of, header
from tests.contract.example_findings import (
    two_findings,
)
from tests.unit.structured_reports import dataset_of


def test_patient_and_study_are_those_of_the_archive() -> None:
    written = dataset_of()
    for element in header():
        assert str(written[element.tag].value) == str(element.value)
    assert written.SpecificCharacterSet == "ISO_IR 192"


def test_what_the_archive_lacks_is_empty() -> None:
    written = dataset_of(held=Evidence(Dataset(), evidence_of(two_findings()).images))
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"):
        assert keyword in written and not written[keyword].value
    assert "IssuerOfPatientID" not in written


def _held(**values: str | list[str]) -> Evidence:
    """Beside the usual header; as read from an archive, so of any form."""
    held = header()
    for keyword, value in values.items():
        held.add(DataElement(Tag(keyword), dictionary_VR(keyword), value, validation_mode=config.IGNORE))
    return Evidence(held, evidence_of(two_findings()).images)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", "1970"),
        ("PatientBirthDate", "19701399"),
        ("PatientSex", "X"),
        ("StudyTime", "8 o'clock"),
        ("TimezoneOffsetFromUTC", "+8:00"),
    ],
)
def test_what_is_no_date_time_or_sex_is_left_out(keyword: str, value: str) -> None:
    written = dataset_of(held=_held(**{keyword: value}))
    assert not written.get(keyword)
    assert written.PatientID == "MRN-4711"


@pytest.mark.filterwarnings("ignore:The value length", "ignore:Invalid value")
@pytest.mark.parametrize("value", ["x" * 70, ["A", "B"], "two\nlines"], ids=["too long", "two values", "control character"])
def test_an_identifier_is_repeated_as_it_is(value: str | list[str]) -> None:
    """With another Patient ID archives would file it as another study."""
    written = dataset_of(held=_held(PatientID=value, AccessionNumber=value))
    assert written.PatientID == written.AccessionNumber == value


def test_nothing_of_the_patient_is_logged_or_warned_of(caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    """highdicom and pydicom quote what they find strange."""
    caplog.set_level(logging.DEBUG)
    secret = "SECRET" * 30 + "\n"
    held = _held(**dict.fromkeys(("PatientID", "PatientName", "PatientBirthDate", "StudyID", "AccessionNumber"), secret))
    assert structured_report(two_findings(), held)
    assert "SECRET" not in caplog.text
    assert not [warning for warning in recwarn if "SECRET" in str(warning.message)]


def test_its_times_are_those_of_the_record() -> None:
    written = dataset_of()
    moment = two_findings().subject.triggered_at
    assert written.ContentDate + written.ContentTime == moment.strftime("%Y%m%d%H%M%S.%f")
    assert written.InstanceCreationDate + written.InstanceCreationTime == moment.strftime("%Y%m%d%H%M%S.%f")
    assert datetime.strptime(str(written.ObservationDateTime), "%Y%m%d%H%M%S%z") == moment.replace(microsecond=0)


@pytest.mark.parametrize("stated", [True, False], ids=["stated by the archive", "by setting"])
def test_its_times_are_in_the_zone_of_the_study(stated: bool) -> None:
    held, said = header(), two_findings()
    if stated:
        held.TimezoneOffsetFromUTC = "+0800"
    zone = UTC if stated else ZoneInfo("Asia/Taipei")
    written = dcmread(BytesIO(structured_report(said, Evidence(held, evidence_of(said).images), zone=zone)))
    local = said.subject.triggered_at + timedelta(hours=8)
    assert written.ContentTime == local.strftime("%H%M%S.%f")
    assert written.get("TimezoneOffsetFromUTC") == ("+0800" if stated else None)

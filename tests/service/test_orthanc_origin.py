"""Who sent a study, asked of a real Orthanc."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest
import requests
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from connectors.pacs.orthanc_origin import OrthancOrigin
from schemas.identifiers import StudyInstanceUID
from tests.contract.example_images import part10, radiograph, study_of
from tests.contract.orthanc_archive import orthanc_archive

pytestmark = pytest.mark.service


@pytest.fixture
def origin(orthanc_url: str) -> Iterator[OrthancOrigin]:
    with closing(OrthancOrigin(orthanc_url, timeout_s=20)) as origin:
        yield origin


def _c_store(orthanc_url: str, ae_title: str, image: Dataset) -> None:
    modality = AE(ae_title)
    modality.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    system = requests.get(f"{orthanc_url}/system", timeout=10).json()
    association = modality.associate("127.0.0.1", system["DicomPort"], ae_title=system["DicomAet"])
    assert association.is_established
    try:
        assert association.send_c_store(image).Status == 0x0000
    finally:
        association.release()


async def test_the_sender_of_all_its_images(origin: OrthancOrigin, orthanc_url: str) -> None:
    first = radiograph()
    second, third = (radiograph(StudyInstanceUID=first.StudyInstanceUID) for _ in range(2))
    for image in (first, second):
        await asyncio.to_thread(_c_store, orthanc_url, "CR_ROOM2", image)
    assert await origin.sent_by(study_of(first)) == "CR_ROOM2"
    await asyncio.to_thread(_c_store, orthanc_url, "CR_ROOM1", third)
    assert await origin.sent_by(study_of(first)) is None


async def test_what_came_by_stow_has_none(origin: OrthancOrigin, orthanc_url: str) -> None:
    archive = orthanc_archive(orthanc_url)
    image = radiograph()
    with closing(archive):
        await archive.store([part10(image)])
    assert await origin.sent_by(study_of(image)) is None


async def test_nor_has_a_study_that_it_does_not_know(origin: OrthancOrigin) -> None:
    assert await origin.sent_by(StudyInstanceUID(generate_uid())) is None

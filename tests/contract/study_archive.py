"""What every StudyArchive keeps. A subclass gives the fixture `archive`, whose default assigner is SITE."""

from __future__ import annotations

import io
from datetime import date

import pydicom
import pytest
from pydicom.uid import generate_uid

from schemas.errors import ResourceRefused, StudyIncomplete
from schemas.identifiers import AccessionNumber, PatientIdentifier, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID
from schemas.study_events import ImageReference, revision_of
from schemas.study_ports import StudyArchive
from tests.contract.example_images import part10, radiograph, structured_report, study_of, uid_of, with_issuers
from tests.contract.example_key_objects import (
    OF_INTEREST,
    REJECTED_FOR_QUALITY,
    REJECTED_FOR_SAFETY,
    RETENTION_EXPIRED,
    WRONG_WORKLIST_ENTRY,
    key_object,
)


class StudyArchiveContract:
    async def test_what_was_stored_is_described(self, archive: StudyArchive) -> None:
        of_study = {"PatientBirthDate": "19700102", "StudyDescription": "Chest, bedside"}
        first = radiograph(
            PresentationIntentType="FOR PRESENTATION",
            ImageType=["DERIVED", "PRIMARY", "", "LOCALIZER"],
            NumberOfFrames=1,
            Laterality="R",
            ImageLaterality="U",
            SeriesDescription="Thorax pa",
            ProtocolName="Chest",
            IrradiationEventUID="1.2.3.4",
            **of_study,
        )
        second = radiograph(StudyInstanceUID=first.StudyInstanceUID, ViewPosition=None, BodyPartExamined=None, **of_study)
        await archive.store([part10(first), part10(second)])

        described = await archive.describe(study_of(first))

        assert described.study_instance_uid == study_of(first)
        assert described.accession_number == AccessionNumber(value="A1", assigner="SITE")
        assert described.patient == PatientIdentifier(value="P1", assigner="SITE")
        assert list(described.images) == sorted(described.images, key=lambda image: image.sop_instance_uid)
        by_uid = {image.sop_instance_uid: image for image in described.images}
        assert by_uid == {
            uid_of(first): ImageReference(
                series_instance_uid=SeriesInstanceUID(first.SeriesInstanceUID),
                sop_instance_uid=uid_of(first),
                sop_class_uid=str(first.SOPClassUID),
                modality="CR",
                body_part_examined="CHEST",
                view_position="PA",
                presentation_intent_type="FOR PRESENTATION",
                image_type=("DERIVED", "PRIMARY", "", "LOCALIZER"),
                photometric_interpretation="MONOCHROME2",
                number_of_frames=1,
                laterality="R",
                image_laterality="U",
                series_description="Thorax pa",
                protocol_name="Chest",
                irradiation_event_uids=("1.2.3.4",),
            ),
            uid_of(second): ImageReference(
                series_instance_uid=SeriesInstanceUID(second.SeriesInstanceUID),
                sop_instance_uid=uid_of(second),
                sop_class_uid=str(second.SOPClassUID),
                modality="CR",
                photometric_interpretation="MONOCHROME2",
            ),
        }
        assert (described.patient_age_years, described.study_description) == (55, "Chest, bedside")
        assert described.study_date == date(2026, 1, 1)
        assert described.rejected == frozenset()

    async def test_the_issuers_in_the_file_are_the_assigners(self, archive: StudyArchive) -> None:
        image = with_issuers(radiograph(), accession="RIS", patient="WARD")
        await archive.store([part10(image)])
        described = await archive.describe(study_of(image))
        assert described.accession_number == AccessionNumber(value="A1", assigner="RIS")
        assert described.patient == PatientIdentifier(value="P1", assigner="WARD")

    async def test_a_study_without_numbers_has_none(self, archive: StudyArchive) -> None:
        image = radiograph(AccessionNumber="", PatientID="")
        await archive.store([part10(image)])
        described = await archive.describe(study_of(image))
        assert described.accession_number is None
        assert described.patient is None

    async def test_a_structured_report_makes_no_new_revision(self, archive: StudyArchive) -> None:
        image = radiograph()
        await archive.store([part10(image)])
        before = await archive.describe(study_of(image))
        await archive.store([part10(structured_report(image.StudyInstanceUID))])
        after = await archive.describe(study_of(image))
        assert [reference.sop_instance_uid for reference in after.images] == [uid_of(image)]
        assert revision_of(after.images) == revision_of(before.images)

    @pytest.mark.parametrize("written", [None, "", "20260230"])
    async def test_a_study_whose_date_is_none_has_none(self, archive: StudyArchive, written: str | None) -> None:
        image = radiograph(StudyDate=written)
        await archive.store([part10(image)])
        assert (await archive.describe(study_of(image))).study_date is None

    @pytest.mark.parametrize("title", [REJECTED_FOR_QUALITY, REJECTED_FOR_SAFETY, WRONG_WORKLIST_ENTRY])
    async def test_what_a_rejection_note_names_is_no_eligible_image(self, archive: StudyArchive, title: str) -> None:
        kept = radiograph()
        rejected = radiograph(StudyInstanceUID=kept.StudyInstanceUID)
        await archive.store([part10(kept), part10(rejected)])
        before = await archive.describe(study_of(kept))
        note = key_object(title, [rejected], study=kept.StudyInstanceUID)
        await archive.store([part10(note)])
        after = await archive.describe(study_of(kept))
        assert [image.sop_instance_uid for image in after.images] == [uid_of(kept)]
        assert after.rejected == {uid_of(rejected)}
        assert after.instances == {uid_of(kept), uid_of(rejected), uid_of(note)}
        assert revision_of(after.images) != revision_of(before.images)

    async def test_the_only_image_may_be_rejected_and_the_numbers_are_still_told(self, archive: StudyArchive) -> None:
        image = radiograph()
        await archive.store([part10(image), part10(key_object(REJECTED_FOR_SAFETY, [image], study=image.StudyInstanceUID))])
        described = await archive.describe(study_of(image))
        assert (described.images, described.rejected) == ((), {uid_of(image)})
        assert described.accession_number == AccessionNumber(value="A1", assigner="SITE")

    @pytest.mark.parametrize("title", [OF_INTEREST, RETENTION_EXPIRED])
    async def test_other_key_objects_reject_nothing(self, archive: StudyArchive, title: str) -> None:
        image = radiograph()
        await archive.store([part10(image)])
        before = await archive.describe(study_of(image))
        await archive.store([part10(key_object(title, [image], study=image.StudyInstanceUID))])
        after = await archive.describe(study_of(image))
        assert (after.images, after.rejected) == (before.images, frozenset())

    async def test_a_rejection_note_counts_for_its_own_study_alone(self, archive: StudyArchive) -> None:
        """IHE has it in the study of what it rejects: elsewhere it is not looked for. And it rejects images only."""
        image, other = radiograph(), radiograph()
        report = structured_report(other.StudyInstanceUID)
        note = key_object(WRONG_WORKLIST_ENTRY, [image, report], study=other.StudyInstanceUID)
        await archive.store([part10(one) for one in (image, other, report, note)])
        for study, one in ((study_of(image), image), (study_of(other), other)):
            described = await archive.describe(study)
            assert [found.sop_instance_uid for found in described.images] == [uid_of(one)]
            assert described.rejected == frozenset()

    async def test_all_instances_are_told_images_or_not(self, archive: StudyArchive) -> None:
        image = radiograph()
        report = structured_report(image.StudyInstanceUID)
        await archive.store([part10(image), part10(report)])
        assert (await archive.describe(study_of(image))).instances == {uid_of(image), uid_of(report)}

    async def test_the_studies_of_an_accession_number(self, archive: StudyArchive) -> None:
        number = generate_uid()[-14:]
        images = [radiograph(AccessionNumber=number), radiograph(AccessionNumber=number), radiograph(AccessionNumber=number + "7")]
        await archive.store([part10(image) for image in images])
        mine = AccessionNumber(value=number, assigner="SITE")
        assert list(await archive.studies_of(mine)) == sorted(study_of(image) for image in images[:2])

    async def test_an_accession_number_that_nobody_has(self, archive: StudyArchive) -> None:
        assert list(await archive.studies_of(AccessionNumber(value=generate_uid()[-14:], assigner="SITE"))) == []

    async def test_one_more_image_is_a_new_revision(self, archive: StudyArchive) -> None:
        image = radiograph()
        await archive.store([part10(image)])
        before = await archive.describe(study_of(image))
        await archive.store([part10(radiograph(StudyInstanceUID=image.StudyInstanceUID))])
        assert revision_of((await archive.describe(study_of(image))).images) != revision_of(before.images)

    async def test_an_instance_comes_back_as_stored(self, archive: StudyArchive) -> None:
        image = radiograph()
        await archive.store([part10(image)])
        described = await archive.describe(study_of(image))
        back = pydicom.dcmread(io.BytesIO(await archive.instance(study_of(image), described.images[0])))
        assert back.SOPInstanceUID == image.SOPInstanceUID
        assert back.file_meta.TransferSyntaxUID == image.file_meta.TransferSyntaxUID
        assert back.PixelData == image.PixelData

    async def test_an_unknown_study_is_incomplete(self, archive: StudyArchive) -> None:
        with pytest.raises(StudyIncomplete):
            await archive.describe(StudyInstanceUID(generate_uid()))

    async def test_an_unknown_instance_is_incomplete(self, archive: StudyArchive) -> None:
        image = radiograph()
        await archive.store([part10(image)])
        reference = (await archive.describe(study_of(image))).images[0]
        missing = reference.model_copy(update={"sop_instance_uid": SOPInstanceUID(generate_uid())})
        with pytest.raises(StudyIncomplete):
            await archive.instance(study_of(image), missing)

    async def test_what_is_not_dicom_is_refused(self, archive: StudyArchive) -> None:
        with pytest.raises(ResourceRefused):
            await archive.store([part10(radiograph()), b"this is no DICOM file"])

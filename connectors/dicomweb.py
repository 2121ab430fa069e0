"""A DICOMweb archive (PS3.18) as the steps need it: QIDO-RS and WADO-RS metadata to describe a study, WADO-RS to fetch, STOW-RS
to store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from connectors.archive_access import ArchiveAccess
from connectors.dicom_json import text
from connectors.dicomweb_services import DicomWebServices
from connectors.dicomweb_study import (
    ACCESSION_NUMBER,
    ISSUER_OF_ACCESSION_NUMBER,
    SOP_CLASS_UID,
    STUDY_INSTANCE_UID,
    Assigners,
    accession_number_of,
    description,
    foremost,
    has_issuer,
    uid_of,
)
from connectors.rejection_notes import KEY_OBJECT_SELECTION, rejected_by
from schemas.errors import InvalidResource, RadstreamError, Refused, Rejected, StudyIncomplete
from schemas.identifiers import AccessionNumber, SOPInstanceUID, StudyInstanceUID
from schemas.study_events import ImageReference
from schemas.study_ports import StudyDescription

#: key object selections that are read of one study, one request each
_KEY_OBJECTS = 100
#: PS3.4 C.2.2.2: asked for it, an archive looks through all it has
_WILDCARDS = frozenset("*?\\")
_log = structlog.get_logger()


class DicomWebArchive:
    """`StudyArchive` on DICOMweb. The two assigners are those of numbers for which the archive names no issuer."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        size_limit: int,
        pool_size: int,
        access: ArchiveAccess = ArchiveAccess(),
        default_accession_assigner: str,
        default_patient_assigner: str,
    ) -> None:
        """Raises SettingsInvalid when a file of `access` cannot be used."""
        self._services = DicomWebServices(base_url, timeout_s=timeout_s, size_limit=size_limit, pool_size=pool_size, access=access)
        self._assigners = Assigners(default_accession_assigner, default_patient_assigner)

    async def describe(self, study: StudyInstanceUID) -> StudyDescription:
        """See `StudyArchive.describe`. Two requests and one for each key object selection: the instances (QIDO-RS), and the
        metadata of one of them for numbers and issuers, because QIDO-RS servers leave sequences out (seen: Orthanc 1.10)."""
        reference = f"study {study}"
        instances = await self._services.instances(study, "describe", reference)
        if not instances:
            raise StudyIncomplete("describe", reference, "the archive does not know the study")
        rejected = await self._rejected(study, instances)
        try:
            header = await self._services.metadata(study, foremost(instances, rejected), "describe", reference)
            return description(study, instances, rejected, header, self._assigners)
        except ValueError as error:  # pydantic's ValidationError is one
            raise InvalidResource("describe", reference, f"a header breaks the standard ({type(error).__name__})") from None

    async def studies_of(self, accession_number: AccessionNumber) -> Sequence[StudyInstanceUID]:
        """See `StudyArchive.studies_of`. Answers are compared: some archives match loosely. QIDO-RS of Orthanc 1.10 leaves issuers
        out: then the number alone decides, and what `describe` says of the study is what counts."""
        reference = "studies of an accession number"
        if _WILDCARDS.intersection(accession_number.value):
            return ()
        params = [("AccessionNumber", accession_number.value), ("includefield", ISSUER_OF_ACCESSION_NUMBER)]
        found, _ = await self._services.search("/studies", params, "describe", reference)
        try:
            return sorted(
                StudyInstanceUID(text(study, STUDY_INSTANCE_UID) or "")
                for study in found
                if text(study, ACCESSION_NUMBER) == accession_number.value
                and (not has_issuer(study) or accession_number_of(study, self._assigners) == accession_number)
            )
        except ValueError:
            raise InvalidResource("describe", reference, "a header breaks the standard") from None

    async def instance(self, study: StudyInstanceUID, image: ImageReference) -> bytes:
        """See `StudyArchive.instance`."""
        return await self._services.retrieve(study, image.series_instance_uid, image.sop_instance_uid)

    async def store(self, instances: Sequence[bytes]) -> None:
        """See `StudyArchive.store`. All or an error; what was stored before the error stays stored."""
        await self._services.store(instances, f"{len(instances)} instances")

    async def answers(self) -> None:
        """Returns when QIDO-RS answers as PS3.18 says. Raises as `describe`."""
        await self._services.answers()

    def close(self) -> None:
        """Ends the threads of this archive."""
        self._services.close()

    async def _rejected(self, study: StudyInstanceUID, instances: Sequence[dict[str, Any]]) -> frozenset[SOPInstanceUID]:
        """What rejection notes name. One that never can be read may reject any image: so it rejects all, and a person is told."""
        key_objects = [instance for instance in instances if text(instance, SOP_CLASS_UID) == KEY_OBJECT_SELECTION]
        rejected: set[SOPInstanceUID] = set()
        reference = f"study {study}"
        try:
            if len(key_objects) > _KEY_OBJECTS:
                raise InvalidResource("describe", reference, f"more than {_KEY_OBJECTS} key object selections")
            for instance in key_objects:
                reference = f"key object selection {uid_of(instance)}"
                rejected |= rejected_by(await self._services.metadata(study, instance, "describe", reference), study)
        except (Rejected, Refused, ValueError) as error:
            why = error.reason if isinstance(error, RadstreamError) else "it breaks the standard"
            told = "a key object selection cannot be read: all images of its study are taken as rejected"
            _log.error(told, study=study, reference=reference, error=why, alarm=True)
            return frozenset(map(uid_of, instances))
        return frozenset(rejected)

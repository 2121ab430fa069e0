"""Who sent a study to Orthanc: the calling application entity title of the association, which Orthanc keeps of each instance."""

from __future__ import annotations

from connectors.archive_access import ArchiveAccess
from connectors.pacs.orthanc_rest import OrthancRest
from schemas.dicom import is_image
from schemas.identifiers import StudyInstanceUID


class OrthancOrigin:
    """`StudyOrigin`. Two questions, one answer of about 0.6 kB for each instance of the study. Of what came over HTTP (STOW-RS, an
    upload, a copy that Orthanc made itself) it knows no title."""

    def __init__(
        self, url: str, *, timeout_s: float, size_limit: int = 64 * 1024 * 1024, access: ArchiveAccess = ArchiveAccess()
    ) -> None:
        """Raises SettingsInvalid when a file of `access` cannot be used."""
        self._orthanc = OrthancRest(url, "complete", timeout_s=timeout_s, size_limit=size_limit, access=access)

    async def sent_by(self, study: StudyInstanceUID) -> str | None:
        """See `StudyOrigin.sent_by`."""
        reference = f"study {study}"
        found = await self._orthanc.ask("POST", "/tools/lookup", reference, study.encode("ascii"))
        try:
            studies = [one["ID"] for one in found if one["Type"] == "Study"]
            instances = await self._orthanc.resources("Instance", studies, reference, metadata=True)
            known = [one["Metadata"] for one in instances]
            # Orthanc before 1.2 kept no SOP class
            came = [(is_image(one.get("SopClassUid", "")), one.get("RemoteAET", "").strip()) for one in known]
        except (KeyError, TypeError, AttributeError):
            raise self._orthanc.not_orthanc(reference) from None
        titles = {title for is_one, title in came if is_one} or {title for _, title in came}
        return (titles.pop() or None) if len(titles) == 1 else None

    def close(self) -> None:
        """Ends its thread."""
        self._orthanc.close()

"""DICOMweb of a real Orthanc."""

from __future__ import annotations

from connectors.dicomweb import DicomWebArchive


def orthanc_archive(orthanc_url: str) -> DicomWebArchive:
    """The archive at http://host:port; who opens it closes it."""
    return DicomWebArchive(
        f"{orthanc_url}/dicom-web",
        timeout_s=20,
        size_limit=64 * 1024 * 1024,
        pool_size=2,
        default_accession_assigner="SITE",
        default_patient_assigner="SITE",
    )

"""Orthanc with its DICOMweb plugin, as Debian installs them: the PACS."""

import json
from pathlib import Path

from streams.services.build import DEPLOY
from streams.services.ports import LOOPBACK, ServicePorts
from streams.services.probes import http_answers
from streams.services.service import Service, ServiceError, program

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
APPLICATION_ENTITY_TITLE = "ORTHANC"


def configuration(ports: ServicePorts, data: Path, *, stable_age_seconds: int) -> dict[str, object]:
    """Orthanc 1.10 configuration. `stable_age_seconds`: how long a study must be quiet before /changes says StableStudy."""
    return {
        "Name": "radstream PACS",
        "StorageDirectory": str(data),
        "IndexDirectory": str(data),
        "StorageCompression": False,
        "MaximumStorageSize": 0,
        "OverwriteInstances": True,
        "StableAge": stable_age_seconds,
        "Plugins": [str(_PLUGIN)],
        "LuaScripts": [str(DEPLOY / "orthanc" / "loopback.lua")],
        # no login: therefore nobody from another machine
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpPort": ports.orthanc_http,
        "DicomPort": ports.orthanc_dicom,
        "DicomAet": APPLICATION_ENTITY_TITLE,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "AcceptedTransferSyntaxes": ["1.2.840.10008.1.*"],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
    }


class Orthanc(Service):
    name = "orthanc"

    def __init__(self, root: Path, ports: ServicePorts, *, stable_age_seconds: int) -> None:
        super().__init__(root, {"orthanc_http": ports.orthanc_http, "orthanc_dicom": ports.orthanc_dicom})
        self._configuration = configuration(ports, self.data, stable_age_seconds=stable_age_seconds)
        self._file = self.folder / "orthanc.json"

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['orthanc_http']}"

    def prepare(self) -> None:
        if not _PLUGIN.exists():
            raise ServiceError("orthanc-dicomweb is not installed: run `make setup`")
        self.data.mkdir(exist_ok=True)
        self._file.write_text(json.dumps(self._configuration, indent=2))

    def command(self) -> list[str]:
        return [program("Orthanc"), str(self._file)]

    def is_ready(self) -> bool:
        """Its own API and the DICOMweb plugin's both answer; the latter about no study, because one may be broken."""
        paths = ("/system", "/dicom-web/studies?StudyInstanceUID=2.25.0&limit=1")
        return all(http_answers(self.address + path, within_seconds=5) for path in paths)

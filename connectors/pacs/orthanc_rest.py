"""Orthanc's own REST interface: JSON questions, and resources with their metadata in one answer (Orthanc 1.9.4 and later)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from connectors.archive_access import ArchiveAccess
from connectors.archive_http import ArchiveHttp, Probe
from schemas.errors import ArchiveUnavailable, InvalidResource, StudyIncomplete

_PROBE = Probe("/system", dict)
_NOT_ORTHANC = "the address of Orthanc answers, but not as Orthanc does"


class OrthancRest:
    """`step` is the verb for errors. One thread; to be closed."""

    def __init__(self, url: str, step: str, *, timeout_s: float, size_limit: int, access: ArchiveAccess) -> None:
        """Raises SettingsInvalid when a file of `access` cannot be used."""
        self._http = ArchiveHttp(url, probe=_PROBE, timeout_s=timeout_s, size_limit=size_limit, pool_size=1, access=access)
        self._step = step

    async def ask(self, method: str, path: str, reference: str, body: bytes | None = None) -> Any:
        """Raises ArchiveUnavailable (also what is no Orthanc), AccessRefused, ItemNotServed."""
        try:
            answer = await self._http.exchange(
                method, path, step=self._step, reference=reference, accept="application/json", body=body
            )
            return json.loads(answer.content)
        except (StudyIncomplete, InvalidResource, ValueError):
            raise self.not_orthanc(reference) from None

    async def resources(
        self, level: str, orthanc_ids: Sequence[str], reference: str, *, metadata: bool = False
    ) -> list[dict[str, Any]]:
        """Those of the level ("Study", "Instance") that these are, belong to or hold; those that are gone are left out. Raises as
        `ask`."""
        if not orthanc_ids:
            return []
        asked = {"Resources": list(orthanc_ids), "Level": level, "Metadata": metadata}
        found = await self.ask("POST", "/tools/bulk-content", reference, json.dumps(asked).encode("utf-8"))
        if not isinstance(found, list):
            raise self.not_orthanc(reference)
        return found

    def not_orthanc(self, reference: str) -> ArchiveUnavailable:
        """For an answer that lacks what Orthanc's have."""
        return ArchiveUnavailable(self._step, reference, _NOT_ORTHANC)

    def close(self) -> None:
        """Ends its thread."""
        self._http.close()

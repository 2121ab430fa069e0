"""Whether there is a nodule or mass, in one code of three."""

from __future__ import annotations

from schemas.findings import Findings
from schemas.renderings import labels
from schemas.renderings.fhir.codes import ABSENT, INDETERMINATE, PRESENT, Code

_CODES: dict[labels.Presence, Code] = {"present": PRESENT, "absent": ABSENT, "indeterminate": INDETERMINATE}


def presence_of(findings: Findings) -> Code:
    """Of what was analysed by a model that locates. "Absent" would hide an alarm that has no place, "present" would name nothing.
    Nothing else is indeterminate: what was not looked for has no root at all, and a finding at the edge of the image is a finding.
    Raises ValueError where nobody looked."""
    present = labels.presence_of(findings)
    if present is None:
        raise ValueError("nobody looked for nodules")
    return _CODES[present]

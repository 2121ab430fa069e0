"""Whether there is a nodule or mass, in one word of three."""

from __future__ import annotations

from schemas.findings import Findings
from schemas.renderings.fhir.codes import ABSENT, INDETERMINATE, PRESENT, Code


def presence_of(findings: Findings) -> Code:
    """Of what was analysed by a model that locates. Indeterminate where its numbers disagree: the score of the study reaches the
    operating point, but no place does. "Absent" would hide the alarm, "present" would name nothing. Nothing else is: what was not
    looked for has no root at all, and a finding at the edge of the image is a finding."""
    if findings.present:
        return PRESENT
    score, threshold = findings.probability, findings.threshold
    return INDETERMINATE if score is not None and threshold is not None and score >= threshold else ABSENT

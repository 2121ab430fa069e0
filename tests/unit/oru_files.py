"""The ORU messages of all examples, and of what is told after them, as files in `tests/samples/oru`.

`python -m tests.unit.oru_files` writes them anew."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import hl7  # type: ignore[import-untyped]

from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import PatientIdentifier
from schemas.renderings.hl7oru import oru_messages
from schemas.renderings.hl7oruterms import OruTerms
from tests.contract.example_findings import (
    after_verification,
    every_state,
    finding,
    findings,
    not_analysed,
    order,
    subject,
    two_findings,
    two_images,
)
from tests.contract.oru_ris import Report, Ris, read

GOLDEN = Path(__file__).parent.parent / "samples" / "oru"
ENGLISH = OruTerms(receiver=("RIS", "HOSPITAL"))
#: a facility whose name in Big5 holds a backslash and a bar: the second bytes of its second and third character
CHINESE = OruTerms(
    sender=("radstream", "許功蓋醫院"),
    receiver=("RIS", "HOSPITAL"),
    charset="BIG-5",
    language="zh-TW",
    status="P",
    time_zone=ZoneInfo("Asia/Taipei"),
    unit="bytes",
)
TERMS = {"en": ENGLISH, "zh-TW": CHINESE}
STATES = every_state()


def transitions() -> dict[str, tuple[Findings, Findings]]:
    """What was told, and what is told now."""
    four, later = two_findings(subject(4)), subject(8)
    elsewhere = PatientIdentifier(value="MRN-4712", assigner="1.2.826.0.1.3680043.10.511.1")
    return {
        "fewer": (two_images(subject(4)), findings(later, finding(1))),
        "absent": (four, findings(later)),
        "recalled": (four, not_analysed(NotAnalysedReason.MODEL_RECALLED, subject(6))),
        "wrong-patient": (four, not_analysed(NotAnalysedReason.IDENTITY_MISMATCH, later)),
        "late-then-found": (not_analysed(NotAnalysedReason.LATE, subject(3)), four),
        "marked": (four, after_verification(two_findings(subject(5)))),
        "other-order": (four, two_findings(subject(8, orders=(order(2),)))),
        "other-patient": (four, two_findings(later.model_copy(update={"patient": elsewhere}))),
        "one-order-of-two": (two_findings(subject(4, orders=(order(1), order(2)))), findings(later)),
    }


def golden() -> dict[str, bytes]:
    """By file name; several messages one behind the other."""
    told: dict[str, tuple[Findings, Findings | None]] = {name: (state, None) for name, state in STATES.items()}
    told |= {f"then-{name}": (now, before) for name, (before, now) in transitions().items()}
    return {
        f"{name}.{language}.hl7": b"".join(oru_messages(*state, terms))
        for name, state in told.items()
        for language, terms in TERMS.items()
    }


#: hl7apy needs 5 ms for an OBX: whatever can be, is judged on these
FILES = {path.name: path.read_bytes() for path in GOLDEN.glob("*.hl7")}


def split(data: bytes) -> list[bytes]:
    return [b"MSH|" + one for one in data.split(b"MSH|")[1:]]


def told(name: str, language: str = "en") -> Report:
    """To a RIS that knew nothing; of one order."""
    ris = Ris()
    ris.take(FILES[f"{name}.{language}.hl7"])
    (report,) = ris.reports.values()
    return report


def message_of(name: str, language: str = "en") -> hl7.Message:
    return read(FILES[f"{name}.{language}.hl7"])


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for path in GOLDEN.glob("*.hl7"):
        path.unlink()
    for name, data in golden().items():
        (GOLDEN / name).write_bytes(data)

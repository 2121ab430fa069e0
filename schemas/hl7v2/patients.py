"""ADT -> patient events."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import MissingIdentifier
from schemas.events import PatientMerged, PatientUpdated
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Segment


def _times(reception: Reception) -> tuple[str, str]:
    """EVN-6 event occurred, EVN-2 recorded (v2.5.1 3.4.1)."""
    evn = reception.message.first("EVN")
    return (evn.value(6), evn.value(2)) if evn else ("", "")


def updated(reception: Reception) -> Sequence[PatientUpdated]:
    """A01 A04 A05 A08 A31. Raises MissingIdentifier (PID-3)."""
    patients = reception.patients(reception.message.first("PID"), 3)
    if not patients:
        raise MissingIdentifier("normalise", "PID-3", "holds no patient identifier")
    return [
        PatientUpdated(
            id=reception.event_id("patient", 1),
            time=reception.received_at,
            sender=reception.sender(*_times(reception)),
            patients=patients,
        )
    ]


def merged(reception: Reception) -> Sequence[PatientMerged]:
    """A18 A34 A40 A47: one event for each pair of PID and MRG (A40 repeats them). Raises MissingIdentifier (PID-3, MRG-1)."""
    pairs: list[tuple[Segment | None, Segment]] = []
    pid: Segment | None = None
    for segment in reception.message.segments:
        if segment.name == "PID":
            pid = segment
        elif segment.name == "MRG":
            pairs.append((pid, segment))
    if not pairs:
        raise MissingIdentifier("normalise", "MRG-1", "a merge without an MRG segment")
    return [_merge(reception, ordinal, pid, mrg) for ordinal, (pid, mrg) in enumerate(pairs, 1)]


def _merge(reception: Reception, ordinal: int, pid: Segment | None, mrg: Segment) -> PatientMerged:
    patients, prior = reception.patients(pid, 3), reception.patients(mrg, 1)
    if not patients or not prior:
        raise MissingIdentifier("normalise", "MRG-1" if patients else "PID-3", f"holds no patient identifier in pair {ordinal}")
    return PatientMerged(
        id=reception.event_id("patient", ordinal),
        time=reception.received_at,
        sender=reception.sender(*_times(reception)),
        patients=patients,
        prior=prior,
    )

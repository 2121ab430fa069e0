"""ADT -> patient events."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import MissingIdentifier
from schemas.events import PatientMerged, PatientUnlinked, PatientUpdated
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Segment
from schemas.hl7v2.paths import Find, Place
from schemas.identifiers import PatientIdentifier


def updated(reception: Reception) -> Sequence[PatientUpdated]:
    """A01 A04 A05 A08 A31. Raises MissingIdentifier (PID-3)."""
    patients = _patients(reception, reception.message.first, "")
    return [
        PatientUpdated(
            id=reception.event_id("patient", 1),
            time=reception.received_at,
            sender=reception.sender(*_times(reception)),
            patients=patients,
        )
    ]


def merged(reception: Reception) -> Sequence[PatientMerged]:
    """A18 A34 A40 A47: one event for each pair of PID and MRG (A40 repeats them). MRG-1 is the list of prior identifiers in all
    of them (v2.5.1 3.4.9); of an A47 the identifier that was wrong. Raises MissingIdentifier (PID-3, MRG-1)."""
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


def unlinked(reception: Reception) -> Sequence[PatientUnlinked]:
    """A37 (v2.5.1 3.3.37): two PID segments, two persons. Raises MissingIdentifier (PID-3)."""
    pids = list(reception.message.all("PID"))
    if len(pids) != 2:
        raise MissingIdentifier("normalise", "PID", "an unlinking has two PID segments")
    first, second = (
        _patients(reception, _among(reception, PID=pid), f" in PID segment {ordinal}") for ordinal, pid in enumerate(pids, 1)
    )
    return [
        PatientUnlinked(
            id=reception.event_id("patient", 1),
            time=reception.received_at,
            sender=reception.sender(*_times(reception)),
            patients=first,
            prior=second,
        )
    ]


def _merge(reception: Reception, ordinal: int, pid: Segment | None, mrg: Segment) -> PatientMerged:
    find = _among(reception, PID=pid, MRG=mrg)
    patients = _patients(reception, find, f" in pair {ordinal}")
    prior = _found(reception, find, reception.habits.prior_patient_identifier, f" in pair {ordinal}")
    return PatientMerged(
        id=reception.event_id("patient", ordinal),
        time=reception.received_at,
        sender=reception.sender(*_times(reception)),
        patients=patients,
        prior=prior,
    )


def _among(reception: Reception, **known: Segment | None) -> Find:
    """These segments by their names; any other is the message's first."""
    return lambda name: known[name] if name in known else reception.message.first(name)


def _patients(reception: Reception, find: Find, where: str) -> tuple[PatientIdentifier, ...]:
    return _found(reception, find, reception.habits.patient_identifier, where)


def _found(reception: Reception, find: Find, places: Sequence[Place], where: str) -> tuple[PatientIdentifier, ...]:
    patients = reception.patients(find, places)
    if not patients:
        raise MissingIdentifier("normalise", str(places[0].value), f"holds no patient identifier{where}")
    return patients


def _times(reception: Reception) -> tuple[str, str]:
    """EVN-6 event occurred, EVN-2 recorded (v2.5.1 3.4.1)."""
    evn = reception.message.first("EVN")
    return (evn.value(6), evn.value(2)) if evn else ("", "")

"""ORU^R01 -> report events, one for each OBR group."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import MalformedMessage
from schemas.events import ReportAmended, ReportDrafted, ReportEvent, ReportSigned
from schemas.hl7v2.groups import Group, groups_of
from schemas.hl7v2.identification import Reception, require_number
from schemas.hl7v2.message import Segment
from schemas.identifiers import FillerOrderNumber, PlacerOrderNumber

#: OBR-25, table 0123 (v2.5.1 4.5.3.25), and the word some senders write. A (some results), P, R, I and the rest: drafted
_SIGNED = frozenset({"F", "FINAL"})
_AMENDED = frozenset({"C"})
#: OBX-2: coded entries are read by their text; encapsulated data, pointers and references are no lines of text
_CODED = frozenset({"CE", "CWE", "CNE"})
_WITHOUT_TEXT = frozenset({"ED", "RP"})


def reports(reception: Reception) -> Sequence[ReportEvent]:
    """Raises MalformedMessage, MissingIdentifier; each names segment and field."""
    groups = [group for group in groups_of(reception.message.segments) if group.obr]
    if not groups:
        raise MalformedMessage("normalise", "OBR", "a result message without an OBR segment")
    return [_report(reception, ordinal, group) for ordinal, group in enumerate(groups, 1)]


def _report(reception: Reception, ordinal: int, group: Group) -> ReportEvent:
    obr = group.obr
    assert obr is not None
    placer = reception.entity(PlacerOrderNumber, group.places(2))
    filler = reception.entity(FillerOrderNumber, group.places(3))
    accession = reception.accession_number(obr, None, filler)
    require_number(ordinal, placer, filler, accession)
    status = obr.value(25)
    kind: type[ReportEvent] = ReportDrafted
    if status.upper() in _SIGNED:
        kind = ReportSigned
    elif status.upper() in _AMENDED:
        kind = ReportAmended
    return kind(
        id=reception.event_id("report", ordinal),
        time=reception.received_at,
        sender=reception.sender(obr.value(22)),
        placer_order_number=placer,
        filler_order_number=filler,
        accession_number=accession,
        patients=reception.patients(group.pid, 3),
        service_code=obr.value(4) or None,
        result_status=status,
        text="\n".join(line for obx in group.following if obx.name == "OBX" for line in _lines(obx)),
    )


def _lines(obx: Segment) -> list[str]:
    """OBX-5; empty lines are kept, they are paragraphs."""
    kind = obx.value(2).upper()
    if kind in _WITHOUT_TEXT:
        return []
    if kind in _CODED:
        return [repetition.component(2) or repetition.component(1) for repetition in obx.repetitions(5)]
    return [repetition.text for repetition in obx.repetitions(5)] or [""]

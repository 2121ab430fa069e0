"""ORU^R01 -> report events, one for each OBR group. Of what we told ourselves none: the AI's words are no radiologist's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.errors import MalformedMessage
from schemas.events import ReportAmended, ReportDrafted, ReportEvent, ReportSigned
from schemas.hl7v2.groups import OWN, Group
from schemas.hl7v2.identification import Reception, require_number
from schemas.hl7v2.observations import Observation, observation

#: OBR-25, table 0123 (v2.5.1 4.5.3.25). A (some results), P, R, I and the rest: drafted
_SIGNED = "F"
_AMENDED = "C"

#: OBX-11, table 0085 (7.4.2.11; A and B from v2.8). U: final, sent before as preliminary
_FINAL = frozenset({"F", "U"})
_CORRECTED = frozenset({"C", "D", "W", "A", "B"})
#: not asked for, an order's details, no result: says nothing of the others
_SILENT = frozenset({"", "N", "O", "X"})


def reports(reception: Reception) -> Sequence[ReportEvent]:
    """Raises MalformedMessage, MissingIdentifier; each names segment and field."""
    groups = [group for group in reception.groups if group.obr]
    if not groups:
        raise MalformedMessage("normalise", "OBR", "a result message without an OBR segment")
    return [_report(reception, ordinal, group) for ordinal, group in enumerate(groups, 1) if not group.ours]


def _report(reception: Reception, ordinal: int, group: Group) -> ReportEvent:
    obr = group.obr
    assert obr is not None
    numbers = reception.numbers(group)
    require_number(ordinal, numbers)
    placer, filler, accession = numbers
    observations = [observation(reception, obx) for obx in group.following if obx.name == "OBX" and obx.value(3, 3) != OWN]
    addendum = [line for one in observations if one.addendum for line in one.lines]
    result_status = reception.code(obr, 25)
    status = reception.habits.result_code(result_status) or _told_by(one.status for one in observations)
    kind: type[ReportEvent] = ReportDrafted
    if status == _SIGNED:
        kind = ReportAmended if addendum else ReportSigned
    elif status == _AMENDED:
        kind = ReportAmended
    return kind(
        id=reception.event_id("report", ordinal),
        time=reception.received_at,
        sender=reception.sender(obr.value(22)),
        placer_order_number=placer,
        filler_order_number=filler,
        accession_number=accession,
        patients=reception.patients(group.segment, reception.habits.patient_identifier),
        service_code=reception.code(obr, 4) or None,
        result_status=result_status,
        text=_text(observations, addendum=False),
        addendum=_text(observations, addendum=True),
        attachments=tuple(attachment for one in observations for attachment in one.attachments),
    )


def _text(observations: Iterable[Observation], *, addendum: bool) -> str:
    return "\n".join(line for one in observations if one.addendum is addendum for line in one.lines)


def _told_by(statuses: Iterable[str]) -> str:
    """What OBX-11 says where OBR-25 says nothing: final only when every observation is."""
    told = set(statuses) - _SILENT
    if not told or told - _FINAL - _CORRECTED:
        return ""
    return _AMENDED if told & _CORRECTED else _SIGNED

"""ORM^O01 (HL7 v2.5.1 4.4.1), built with hl7apy: what a HIS sends. For demo, tests and load; it knows nothing of our own
reader, which is checked against it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hl7apy.core import Message

from schemas.identifiers import AccessionNumber, FillerOrderNumber, PatientIdentifier, PlacerOrderNumber, StudyInstanceUID
from schemas.renderings.hl7text import escaped


def order_message(
    *,
    placer: PlacerOrderNumber | None,
    accession: AccessionNumber | None,
    patient: PatientIdentifier,
    service: str,
    at: datetime,
    control_id: str,
    order_control: str = "NW",
    order_status: str = "",
    filler: FillerOrderNumber | None = None,
    study: StudyInstanceUID | None = None,
    stat: bool = False,
    patient_name: tuple[str, str] = ("Test", "Patient"),
    sender: tuple[str, str] = ("HIS", "HOSPITAL"),
    service_code: tuple[str, str] = ("", ""),
) -> bytes:
    """One ORC/OBR group, UTF-8, CR line ends. `at` (aware) is MSH-7 and ORC-9; `order_control` ORC-1, `order_status` ORC-5;
    `patient_name` family and given name; `sender` MSH-3 and MSH-4; `service_code` OBR-4.1 and OBR-4.3.

    The accession number goes into OBR-18, which has no place for its assigner (ST): receivers take their default."""
    message = Message("ORM_O01", version="2.5.1")
    time = at.strftime("%Y%m%d%H%M%S.%f")[:-2] + at.strftime("%z")
    msh = message.msh
    msh.msh_3, msh.msh_4 = (escaped(part) for part in sender)
    msh.msh_7 = time
    msh.msh_9.msh_9_1, msh.msh_9.msh_9_2, msh.msh_9.msh_9_3 = "ORM", "O01", "ORM_O01"
    msh.msh_10 = escaped(control_id)
    msh.msh_11 = "P"
    msh.msh_18 = "UNICODE UTF-8"

    pid = message.add_group("ORM_O01_PATIENT").add_segment("PID")
    pid.pid_3.pid_3_1 = escaped(patient.value)
    pid.pid_3.pid_3_4 = escaped(patient.assigner)
    pid.pid_5.pid_5_1, pid.pid_5.pid_5_2 = (escaped(part) for part in patient_name)

    order = message.add_group("ORM_O01_ORDER")
    orc = order.add_segment("ORC")
    obr = order.add_group("ORM_O01_ORDER_DETAIL").add_segment("OBR")
    orc.orc_1 = order_control
    _number(orc.orc_2, "orc_2", placer)
    _number(orc.orc_3, "orc_3", filler)
    if order_status:
        orc.orc_5 = order_status
    if stat:
        orc.orc_7.orc_7_6 = "S"
    orc.orc_9 = time
    _number(obr.obr_2, "obr_2", placer)
    _number(obr.obr_3, "obr_3", filler)
    code, coding_system = service_code
    if code:
        obr.obr_4.obr_4_1, obr.obr_4.obr_4_3 = escaped(code), escaped(coding_system)
    obr.obr_4.obr_4_2 = escaped(service)
    if accession:
        obr.obr_18 = escaped(accession.value)

    er7: str = message.to_er7()
    if study:
        er7 += f"\rZDS|{study}^^Application^DICOM"  # IHE RAD TF-2 4.4.4.1.2.6; hl7apy knows no Z segment without a profile
    return (er7 + "\r").encode("utf-8")


def _number(field: Any, name: str, number: PlacerOrderNumber | FillerOrderNumber | None) -> None:
    """An EI: value and namespace id."""
    if number:
        setattr(field, f"{name}_1", escaped(number.value))
        setattr(field, f"{name}_2", escaped(number.assigner))

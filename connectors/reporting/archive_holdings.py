"""What an archive holds of a study, as far as a document of ours in it is concerned."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_VR, tag_for_keyword

from connectors.dicom_json import first, text, texts
from connectors.dicomweb_services import DicomWebServices
from connectors.dicomweb_study import SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, image_of, uid_of
from connectors.rejection_notes import KEY_OBJECT_SELECTION, rejected_by
from schemas.errors import InvalidResource, StudyIncomplete
from schemas.findings import Findings
from schemas.identifiers import SOPInstanceUID, StudyInstanceUID
from schemas.renderings.dicom.document import Document, series_of
from schemas.renderings.dicom.evidence import TYPE_2, TYPE_3, Evidence

_STEP = "archive"
#: PS3.6; of each instance QIDO-RS tells it unasked (PS3.18 table 10.6.3-5)
_INSTANCE_NUMBER = "00200013"
#: component groups of a person name (PS3.18 F.2.2), in the order of PS3.5 6.2.1.1
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(frozen=True, slots=True)
class Report:
    """A structured report of ours. `sequence` is that of its findings, Instance Number (0020,0013)."""

    document: Document
    sequence: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """`instances`: all of the study, by SOP Instance UID, as QIDO-RS tells them. `reports`: ours of one service, by sequence;
    `rejected`: those of them that rejection notes of ours name; `last`: the highest sequence of a report or note of ours."""

    study: StudyInstanceUID
    instances: dict[SOPInstanceUID, dict[str, Any]]
    reports: tuple[Report, ...]
    rejected: frozenset[SOPInstanceUID]
    last: int

    def holds(self, document: Document) -> bool:
        return any(held.document.sop_instance_uid == document.sop_instance_uid for held in self.reports)

    @property
    def standing(self) -> tuple[Document, ...]:
        """What is not rejected, the last one at the end: each before it is the predecessor of a later one."""
        return tuple(held.document for held in self.reports if held.document.sop_instance_uid not in self.rejected)


async def holdings(services: DicomWebServices, study: StudyInstanceUID, service: str, told: Report | None) -> Holdings:
    """One question, and one for each rejection note of ours. `told`: what may be there though the archive does not list it yet
    (some answer STOW-RS before their index is written). Raises as `DicomWebServices`, but for a study that is not there."""
    reference = f"study {study}"
    try:
        listed = await services.instances(study, _STEP, reference)
    except StudyIncomplete:  # 404: so some say that there is none
        listed = []
    try:
        instances = {uid_of(instance): instance for instance in listed}
        reports = [_report(instance) for instance in listed if _of_series(instance, series_of("sr", study, service))]
        if told is not None and await _unlisted(services, study, told.document, instances):
            reports.append(told)
        notes = [instance for instance in listed if _is_note(instance, series_of("ko", study, service))]
        rejected: set[SOPInstanceUID] = set()
        for note in notes:
            rejected |= rejected_by(await services.metadata(study, note, _STEP, f"rejection note {uid_of(note)}"), study)
    except (ValueError, TypeError):
        raise InvalidResource(_STEP, reference, "a document in a series of ours breaks the standard") from None
    return Holdings(
        study,
        instances,
        tuple(sorted(reports, key=lambda held: (held.sequence, held.document.sop_instance_uid))),
        frozenset(rejected),
        max([0, *(held.sequence for held in reports), *map(_instance_number, notes)]),
    )


async def evidence(services: DicomWebServices, there: Holdings, findings: Findings) -> Evidence:
    """One question: the header of the first image analysed. Raises as `DicomWebServices`; StudyIncomplete when the archive holds an
    analysed image no more."""
    reference = f"study {there.study}"
    held = [there.instances.get(image.sop_instance_uid) for image in findings.images]
    images = [image for image in held if image is not None]
    if len(images) < len(held):
        missing = len(held) - len(images)
        raise StudyIncomplete(_STEP, reference, f"{missing} of the {len(held)} analysed images are not in the archive")
    header = await _asked_header(services, there.study, images[0])
    try:
        return Evidence(header, tuple(map(image_of, images)))
    except ValueError:
        raise InvalidResource(_STEP, reference, "a header breaks the standard") from None


async def evidence_of(services: DicomWebServices, there: Holdings, document: Document) -> Evidence:
    """For what is said of a document of ours: its own header, for there may be no image any more. Raises as `DicomWebServices`."""
    return Evidence(await _asked_header(services, there.study, _named(document)), ())


async def _asked_header(services: DicomWebServices, study: StudyInstanceUID, instance: dict[str, Any]) -> Dataset:
    reference = f"study {study}"
    try:
        return _header(await services.metadata(study, instance, _STEP, reference))
    except ValueError:
        raise InvalidResource(_STEP, reference, "a header breaks the standard") from None


def _of_series(instance: dict[str, Any], series: str) -> bool:
    return text(instance, SERIES_INSTANCE_UID) == series


def _is_note(instance: dict[str, Any], series: str) -> bool:
    return _of_series(instance, series) and text(instance, SOP_CLASS_UID) == KEY_OBJECT_SELECTION


def _report(instance: dict[str, Any]) -> Report:
    document = Document(text(instance, SOP_CLASS_UID) or "", uid_of(instance), text(instance, SERIES_INSTANCE_UID) or "")
    return Report(document, _instance_number(instance))


def _instance_number(instance: dict[str, Any]) -> int:
    """IS: a number, or a string of digits (PS3.18 F.2.3)."""
    return int(first(instance, _INSTANCE_NUMBER) or 0)


async def _unlisted(services: DicomWebServices, study: StudyInstanceUID, told: Document, listed: Collection[str]) -> bool:
    """Whether it is there all the same."""
    if told.sop_instance_uid in listed:
        return False
    try:
        await services.metadata(study, _named(told), _STEP, f"document {told.sop_instance_uid}")
    except StudyIncomplete:
        return False
    return True


def _named(document: Document) -> dict[str, Any]:
    """As QIDO-RS would tell it."""
    uids = {SOP_INSTANCE_UID: document.sop_instance_uid, SERIES_INSTANCE_UID: document.series_instance_uid}
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}


def _header(found: dict[str, Any]) -> Dataset:
    """Values are taken as they are, without pydicom's warnings: those would print them. The rendering drops what breaks its VR."""
    header = Dataset()
    for keyword in (*TYPE_2, *TYPE_3):
        tag = tag_for_keyword(keyword)
        assert tag is not None
        value = _value(found, f"{tag:08X}")
        if value is not None:
            header.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))
    return header


def _value(found: dict[str, Any], tag: str) -> str | None:
    """Several values as they are written in a file."""
    value = first(found, tag)
    if not isinstance(value, dict):
        return "\\".join(texts(found, tag)) or None
    groups = [group if isinstance(group := value.get(name), str) else "" for name in _GROUPS]
    return "=".join(groups).rstrip("=") or None

"""Reads what our structured reports say with pydicom alone: nothing of schemas.renderings and no highdicom takes part."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread

Coded = tuple[str, str]
"""Coding Scheme Designator, code."""


@dataclass(frozen=True)
class ReadRegion:
    """A closed polyline of column and row."""

    image: str
    frame: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class ReadGroup:
    """One measurement group (TID 1501, 1410). A number is its value and its UCUM unit; `methods` are those of numbers."""

    template: str
    identifier: str
    uid: str
    algorithm: tuple[str, ...]
    finding: Coded | None
    evaluations: dict[Coded, Coded]
    numbers: dict[Coded, tuple[float, str]]
    methods: dict[Coded, Coded]
    images: tuple[str, ...]
    region: ReadRegion | None


@dataclass(frozen=True)
class ReadReport:
    """`library`: SOP Instance UID, rows, columns; `evidence` and `predecessors`: study, series, SOP class, SOP instance."""

    dataset: Dataset
    title: Coded
    observer: dict[Coded, str]
    sentences: tuple[str, ...]
    library: tuple[tuple[str, int, int], ...]
    groups: tuple[ReadGroup, ...]
    evidence: tuple[tuple[str, str, str, str], ...]
    predecessors: tuple[tuple[str, str, str, str], ...]


def read_report(part10: bytes) -> ReadReport:
    """Raises AssertionError where the tree is not that of TID 1500."""
    held = dcmread(BytesIO(part10))
    assert held.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    (measured,) = _named(held, ("DCM", "126010"))
    (library,) = _named(held, ("DCM", "111028"))
    (group,) = library.ContentSequence
    return ReadReport(
        dataset=held,
        title=_code(held.ConceptNameCodeSequence),
        observer={_name(item): _said(item) for item in held.ContentSequence if item.RelationshipType == "HAS OBS CONTEXT"},
        sentences=tuple(item.TextValue for item in _named(held, ("DCM", "121106"))),
        library=tuple(_entry(entry) for entry in group.ContentSequence),
        groups=tuple(_group(item) for item in measured.ContentSequence),
        evidence=_references(held.get("CurrentRequestedProcedureEvidenceSequence", ())),
        predecessors=_references(held.get("PredecessorDocumentsSequence", ())),
    )


def _group(item: Dataset) -> ReadGroup:
    numbers = [one for one in item.ContentSequence if one.ValueType == "NUM"]
    regions = [one for one in item.ContentSequence if one.ValueType == "SCOORD"]
    coded = {_name(one): _code(one.ConceptCodeSequence) for one in item.ContentSequence if one.ValueType == "CODE"}
    texts = {_name(one): one.TextValue for one in item.ContentSequence if one.ValueType == "TEXT"}
    (uid,) = _named(item, ("DCM", "112040"))
    finding = coded.pop(("DCM", "121071"), None)
    assert coded.pop(("DCM", "111000")) == ("DCM", "123110")
    return ReadGroup(
        template=item.ContentTemplateSequence[0].TemplateIdentifier,
        identifier=texts[("DCM", "112039")],
        uid=uid.UID,
        algorithm=tuple(texts[("DCM", code)] for code in ("111001", "111003", "111002")),
        finding=finding,
        evaluations=coded,
        numbers={_name(one): _number(one) for one in numbers},
        methods={_name(one): _code(one.ContentSequence[0].ConceptCodeSequence) for one in numbers if "ContentSequence" in one},
        images=tuple(_uid(one) for one in item.ContentSequence if one.ValueType == "IMAGE"),
        region=_region(regions[0]) if regions else None,
    )


def _region(item: Dataset) -> ReadRegion:
    assert item.GraphicType == "POLYLINE"
    (image,) = item.ContentSequence
    assert image.RelationshipType == "SELECTED FROM"
    flat = [float(value) for value in item.GraphicData]
    frame = image.ReferencedSOPSequence[0].get("ReferencedFrameNumber", 1)
    return ReadRegion(_uid(image), int(frame), tuple(zip(flat[::2], flat[1::2], strict=True)))


def _entry(item: Dataset) -> tuple[str, int, int]:
    sizes = {_name(one): _number(one)[0] for one in item.ContentSequence}
    return _uid(item), int(sizes["DCM", "110910"]), int(sizes["DCM", "110911"])


def _number(item: Dataset) -> tuple[float, str]:
    """Floating Point Value (0040,A161) where there is one: Numeric Value has 16 characters."""
    (measured,) = item.MeasuredValueSequence
    scheme, unit = _code(measured.MeasurementUnitsCodeSequence)
    assert scheme == "UCUM"
    return float(measured.get("FloatingPointValue", measured.NumericValue)), unit


def _references(studies: Any) -> tuple[tuple[str, str, str, str], ...]:
    return tuple(
        (study.StudyInstanceUID, series.SeriesInstanceUID, one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID)
        for study in studies
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    )


def _named(item: Dataset, name: Coded) -> list[Dataset]:
    return [one for one in item.ContentSequence if _name(one) == name]


def _name(item: Dataset) -> Coded:
    return _code(item.ConceptNameCodeSequence)


def _said(item: Dataset) -> str:
    return str(item.get("TextValue") or item.get("UID") or _code(item.ConceptCodeSequence)[1])


def _code(sequence: Any) -> Coded:
    """Long Code Value (0008,0119) and URN Code Value (0008,0120) hold what is longer than 16 characters."""
    (code,) = sequence
    value = code.get("CodeValue") or code.get("LongCodeValue") or code.get("URNCodeValue")
    return str(code.CodingSchemeDesignator), str(value)


def _uid(item: Dataset) -> str:
    return str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)

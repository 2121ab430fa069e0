"""Findings of every shape that the schema allows, for hypothesis: any text that UTF-8 can hold, also what no receiver likes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast
from uuid import UUID

from hypothesis import strategies as st

from schemas.coding import UNITS
from schemas.findings import (
    CHEST_RADIOGRAPH_FINDINGS,
    AnalysedImage,
    Examination,
    Finding,
    FindingKind,
    Findings,
    Measurement,
    MessageReference,
    ModelIdentity,
    NotAnalysed,
    NotAnalysedReason,
    OrderReference,
    Region,
    Subject,
)
from schemas.identifiers import AccessionNumber, FillerOrderNumber, PatientIdentifier, PlacerOrderNumber, SOPInstanceUID
from schemas.outputs import Coding, Output

_texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.strip)
#: as the cards of models may have them (schemas.coding)
_codes = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
_names = st.from_regex(r"[a-z0-9]{1,6}(-[a-z0-9]{1,6}){0,2}", fullmatch=True)
_digests = st.integers(min_value=0, max_value=2**256 - 1).map(lambda number: f"{number:064x}")
_uids = st.integers(min_value=0, max_value=2**128 - 1).map(lambda number: f"2.25.{number}")
_probabilities = st.floats(min_value=0, max_value=1)
_numbers = st.floats(allow_nan=False, allow_infinity=False)
_edges = st.floats(min_value=0, max_value=1e6)
_sizes = st.floats(min_value=0, max_value=1e6, exclude_min=True)
_zones = st.integers(min_value=-14 * 60, max_value=14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC) | _zones)


def _assigned(kind: type[Any]) -> st.SearchStrategy[Any]:
    assigners = _texts | st.sampled_from(["RIS", "1.2.840.99", "https://hospital.example/mrn"])
    return st.builds(kind, value=_texts, assigner=assigners)


_orders = st.tuples(
    st.none() | _assigned(PlacerOrderNumber), st.none() | _assigned(FillerOrderNumber), st.none() | _assigned(AccessionNumber)
).filter(any)


#: a sender without a name is "|"
_messages = st.builds(MessageReference, sender=_texts, message_control_id=_texts)


_examinations = st.builds(Examination, loinc=st.from_regex(r"[0-9]{1,7}-[0-9]", fullmatch=True), text=st.just("") | _texts)


@st.composite
def _subjects(draw: st.DrawFn) -> Subject:
    accession = draw(st.none() | _assigned(AccessionNumber))
    orders = [
        OrderReference(
            placer_order_number=placer, filler_order_number=filler, accession_number=draw(st.sampled_from([own, accession]))
        )
        if placer or filler
        else OrderReference(accession_number=own)
        for placer, filler, own in draw(st.lists(_orders, max_size=3))
    ]
    return Subject(
        study_instance_uid=draw(_uids),
        revision=draw(_digests),
        sequence=draw(st.integers(min_value=1, max_value=2**31 - 1)),  # FHIR positiveInt
        accession_number=accession,
        patient=draw(st.none() | _assigned(PatientIdentifier)),
        orders=tuple(orders),
        messages=tuple(draw(st.lists(_messages, max_size=3))),
        examination=draw(st.none() | _examinations),
        triggered_at=draw(_times),
        outward=draw(st.booleans()),
    )


_codings = st.builds(Coding, system=st.sampled_from(["http://snomed.info/sct", "urn:example:codes"]), code=_codes, display=_texts)
_outputs = st.builds(
    Output, name=_names, coding=_codings, value=_numbers, unit=st.sampled_from(UNITS), threshold=st.none() | _numbers
)
_models = st.builds(ModelIdentity, name=_texts, version=_texts, weights_sha256=_digests)


@st.composite
def _images(draw: st.DrawFn, locates: bool) -> tuple[AnalysedImage, ...]:
    outputs = st.lists(_outputs, min_size=0 if locates else 1, max_size=3, unique_by=lambda output: output.name)
    return tuple(
        AnalysedImage(
            sop_instance_uid=cast(SOPInstanceUID, uid),
            pixel_sha256=draw(_digests),
            rows=draw(st.integers(min_value=1, max_value=65535)),
            columns=draw(st.integers(min_value=1, max_value=65535)),
            probability=draw(_probabilities) if locates else None,
            outputs=tuple(draw(outputs)),
        )
        for uid in draw(st.lists(_uids, min_size=1, max_size=3, unique=True))
    )


@st.composite
def _located(draw: st.DrawFn, images: tuple[AnalysedImage, ...]) -> tuple[Finding, ...]:
    uids = st.sampled_from([image.sop_instance_uid for image in images])
    regions = st.builds(
        Region,
        sop_instance_uid=uids,
        frame=st.integers(min_value=1, max_value=10_000),
        left=_edges,
        top=_edges,
        width=_sizes,
        height=_sizes,
    )
    sizes = st.builds(Measurement, value=_sizes, plane=st.sampled_from(["patient", "detector"]))
    many = draw(st.integers(min_value=0, max_value=3))
    return tuple(
        Finding(
            ordinal=ordinal,
            kind=draw(st.sampled_from(FindingKind)),
            probability=draw(_probabilities),
            region=draw(regions),
            long_axis=draw(st.none() | sizes),
        )
        for ordinal in range(1, many + 1)
    )


@st.composite
def any_findings(draw: st.DrawFn) -> Findings:
    """Analysed or not, by a model that locates or by another one, of any service."""
    values: dict[str, Any] = {
        "analysis_id": draw(st.uuids(version=5) | st.builds(UUID, int=st.integers(min_value=0, max_value=2**128 - 1))),
        "subject": draw(_subjects()),
        "service": draw(st.just(CHEST_RADIOGRAPH_FINDINGS) | _names),
    }
    if draw(st.booleans()):
        said = NotAnalysed(reason=draw(st.sampled_from(NotAnalysedReason)), explanation=draw(st.just("") | _texts))
        return Findings(**values, model=draw(st.none() | _models), not_analysed=said)
    locates = draw(st.booleans())
    images = draw(_images(locates))
    return Findings(
        **values,
        model=draw(_models),
        images=images,
        findings=draw(_located(images)) if locates else (),
        threshold=draw(_probabilities) if locates else None,
        verified_at=draw(st.none() | _times),
    )

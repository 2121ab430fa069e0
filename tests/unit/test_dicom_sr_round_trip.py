"""Findings -> SR -> what a reader without highdicom finds in it: codes, numbers, boxes and references of each finding."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.findings import Finding, FindingKind, Findings, Measurement, Region
from schemas.outputs import Coding, Output
from schemas.renderings.dicom.structured_report import structured_report
from tests.contract.example_evidence import SERIES, evidence_of
from tests.contract.example_findings import IMAGE, IMAGE_2, findings, image
from tests.contract.example_findings import every_state as _every_state
from tests.contract.sr_reader import Coded, ReadGroup, ReadRegion, read_report

_STATES = {name: said for name, said in _every_state().items() if said.not_analysed is None}
_PRESENT, _ABSENT, _INDETERMINATE = ("SCT", "52101004"), ("SCT", "272519000"), ("SCT", "82334004")
_KINDS = {FindingKind.NODULE: ("SCT", "786838002"), FindingKind.MASS: ("SCT", "309529002")}
_DESIGNATORS = {"http://snomed.info/sct": "SCT", "http://loinc.org": "LN", "http://radlex.org": "RADLEX"}


@pytest.mark.parametrize("name", _STATES)
def test_every_state_reads_back(name: str) -> None:
    _reads_back(_STATES[name])


_numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
_scores = st.floats(0, 1)
#: pixels of any radiograph; a box may be thinner than float32 can say
_places, _sizes = st.floats(0, 8192), st.floats(1e-9, 8192, exclude_min=True)
_codings = st.builds(
    Coding,
    system=st.sampled_from([*_DESIGNATORS, "urn:example:codes", "urn:oid:1.2.3"]),
    code=st.from_regex(r"[A-Za-z0-9.-]{1,40}", fullmatch=True),
    display=st.text(min_size=1, max_size=100).filter(lambda words: words.strip() != ""),
)


@st.composite
def _said(draw: Any) -> Findings:
    names = draw(st.lists(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), max_size=3, unique=True))
    outputs = tuple(
        Output(
            name=name,
            coding=draw(_codings),
            value=draw(_numbers),
            unit=draw(st.sampled_from(["1", "mm", "%", "[hnsf'U]"])),
            threshold=draw(st.none() | _numbers),
        )
        for name in names
    )
    seen = (image(*outputs, probability=draw(_scores)), image(uid=IMAGE_2, probability=draw(_scores)))
    found = tuple(
        Finding(
            ordinal=ordinal,
            kind=draw(st.sampled_from(FindingKind)),
            probability=draw(_scores),
            region=Region(
                sop_instance_uid=draw(st.sampled_from([IMAGE, IMAGE_2])),
                frame=draw(st.integers(1, 3)),
                left=draw(_places),
                top=draw(_places),
                width=draw(_sizes),
                height=draw(_sizes),
            ),
            long_axis=draw(
                st.none() | st.builds(Measurement, value=st.floats(1e-3, 1e4), plane=st.sampled_from(["patient", "detector"]))
            ),
        )
        for ordinal in range(1, draw(st.integers(0, 3)) + 1)
    )
    return findings(None, *found, images=seen, threshold=draw(_scores))


@given(_said())
@settings(max_examples=25)
def test_whatever_is_said_reads_back(said: Findings) -> None:
    _reads_back(said)


def _reads_back(said: Findings) -> None:
    report = read_report(structured_report(said, evidence_of(said)))
    assert report.title == ("DCM", "126000")
    assert report.library == tuple((one.sop_instance_uid, one.rows, one.columns) for one in said.images)
    held = {one.sop_instance_uid: one.sop_class_uid for one in evidence_of(said).images}
    assert sorted(report.evidence) == sorted((said.subject.study_instance_uid, SERIES, held[uid], uid) for uid in held)
    groups = list(report.groups)
    assert len({group.uid for group in groups}) == len(groups)
    assert said.model is not None
    weights = f"SHA-256 of the weights: {said.model.weights_sha256}"
    assert {group.algorithm for group in groups} == {(said.model.name, said.model.version, weights)}
    if said.locates:
        _same_presence(groups.pop(0), said)
    for finding in said.findings:
        _same_finding(groups.pop(0), finding)
    for output, source in said.outputs_with_image:
        _same_output(groups.pop(0), output, source)
    assert groups == []


def _same_presence(group: ReadGroup, said: Findings) -> None:
    assert group.template == "1501"
    answer = _PRESENT if said.findings else _ABSENT
    assert said.probability is not None and said.threshold is not None
    if not said.findings and said.probability >= said.threshold:
        answer = _INDETERMINATE
    kinds = {_KINDS[finding.kind] for finding in said.findings} or {*_KINDS.values()}
    assert group.evaluations == {("99RADSTREAM", "nodule-or-mass"): answer} | dict.fromkeys(kinds, answer)
    assert group.numbers == {
        ("99RADSTREAM", "study-score"): (said.probability, "1"),
        ("99RADSTREAM", "study-threshold"): (said.threshold, "1"),
    }
    assert group.images == tuple(image.sop_instance_uid for image in said.images)


def _same_finding(group: ReadGroup, finding: Finding) -> None:
    assert (group.template, group.identifier, group.finding) == ("1410", f"finding-{finding.ordinal}", _KINDS[finding.kind])
    numbers = {("99RADSTREAM", "finding-score"): (finding.probability, "1")}
    methods: dict[Coded, Coded] = {}
    if finding.long_axis is not None:
        numbers["SCT", "103339001"] = finding.long_axis.value, "mm"
        methods["SCT", "103339001"] = "99RADSTREAM", f"{finding.long_axis.plane}-plane"
    assert (group.numbers, group.methods) == (numbers, methods)
    assert group.region is not None
    _same_box(group.region, finding.region)


def _same_box(read: ReadRegion, region: Region) -> None:
    """Graphic Data are float32: half a unit in the last place for each corner, a whole one where the box is thinner."""
    assert (read.image, read.frame) == (region.sop_instance_uid, region.frame)
    (left, top), (right, _), (_, bottom) = read.points[:3]
    assert read.points == ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    assert left < right and top < bottom
    for near, far, start, size in ((left, right, region.left, region.width), (top, bottom, region.top, region.height)):
        assert math.isclose(near, start, rel_tol=2**-24, abs_tol=2**-126)
        assert math.isclose(far, start + size, rel_tol=2**-22, abs_tol=2**-126)


def _same_output(group: ReadGroup, output: Output, image: str) -> None:
    assert (group.template, group.identifier, group.images) == ("1501", output.name, (image,))
    (name,) = group.evaluations if output.threshold is not None else group.numbers
    assert name[1] == output.coding.code
    assert name[0] == _DESIGNATORS.get(output.coding.system, name[0])
    if output.threshold is None:
        assert (group.evaluations, group.numbers) == ({}, {name: (output.value, output.unit)})
        return
    assert group.evaluations == {name: _PRESENT if output.present else _ABSENT}
    assert group.numbers == {
        ("99RADSTREAM", "output-value"): (output.value, output.unit),
        ("99RADSTREAM", "output-threshold"): (output.threshold, output.unit),
    }

"""Two states of one study and service: what a receiver would be told otherwise, by meaning. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.findings import Finding, Findings
from schemas.outputs import Output
from streams.replay.said import State
from streams.shadows.agreement import Box, matches

Kind = Literal[
    "moved",
    "renamed",
    "score",
    "appeared",
    "vanished",
    "presence",
    "outputs",
    "text",
    "analysed",
    "decided",
    "only-then",
    "only-now",
]
#: in the order in which they are told, with their words
KINDS: Mapping[Kind, str] = {
    "appeared": "finding appeared",
    "vanished": "finding vanished",
    "moved": "finding moved",
    "renamed": "finding called otherwise",
    "score": "score changed",
    "presence": "present or absent otherwise",
    "outputs": "outputs changed",
    "text": "text changed",
    "analysed": "analysed or not",
    "decided": "events decided otherwise",
    "only-then": "only then",
    "only-now": "only now",
}

#: numbers with a point are compared by their own kinds, with their tolerances
_NUMBER = re.compile(r"\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What counts as the same: scores and probabilities; the edges of a finding, in pixels of the stored image. Measures: a
    thousandth of their value."""

    score: float = 0.001
    pixels: float = 2.0
    relative: float = 0.001


@dataclass(frozen=True, slots=True)
class Change:
    """`words`: for people, without patient data."""

    kind: Kind
    words: str


def states_differ(old: State, new: State, tolerance: Tolerance) -> tuple[Change, ...]:
    """Two states of one study and service."""
    return (*_subject(old.findings, new.findings), *_content(old, new, tolerance))


def other_pixels(old: Findings, new: Findings) -> int:
    """How many images have other pixels than then."""
    were = {image.sop_instance_uid: image.pixel_sha256 for image in old.images}
    return sum(were.get(image.sop_instance_uid, image.pixel_sha256) != image.pixel_sha256 for image in new.images)


def _subject(old: Findings, new: Findings) -> Iterator[Change]:
    one, other = old.subject, new.subject
    told = {
        "the images of the study": one.revision != other.revision,
        "the accession number": one.accession_number != other.accession_number,
        "the patient": one.patient != other.patient,
        "the orders": one.orders != other.orders,
        "which images were looked at": _both_analysed(old, new) and _seen(old) != _seen(new),
        "what was ordered": one.examination != other.examination,
        "whether receivers are told": one.outward != other.outward,
        "whether a radiologist had verified before": (old.verified_at is None) != (new.verified_at is None),
    }
    if different := [words for words, differs in told.items() if differs]:
        yield Change("decided", f"other than then: {', '.join(different)}")


def _both_analysed(one: Findings, other: Findings) -> bool:
    """Else that is what differs, and has a kind of its own."""
    return one.not_analysed is None and other.not_analysed is None


def _seen(said: Findings) -> frozenset[str]:
    return frozenset(image.sop_instance_uid for image in said.images)


def _content(old: State, new: State, tolerance: Tolerance) -> Iterator[Change]:
    one, other = old.findings, new.findings
    reasons = [found.not_analysed.reason.value if found.not_analysed else "" for found in (one, other)]
    if reasons[0] != reasons[1]:
        yield Change(
            "analysed", " then, ".join(f"not analysed ({reason})" if reason else "analysed" for reason in reasons) + " now"
        )
    elif not reasons[0]:
        yield from _analysed(one, other, tolerance)
    if (old.text is None) != (new.text is None):
        yield Change("text", f"there is a report {'now' if old.text is None else 'then'} only")
    elif old.text is not None and new.text is not None and _NUMBER.sub("#", old.text) != _NUMBER.sub("#", new.text):
        yield Change("text", "receivers read other words")


def _analysed(old: Findings, new: Findings, tolerance: Tolerance) -> Iterator[Change]:
    yield from _findings(old, new, tolerance)
    if _differ(old.probability, new.probability, tolerance.score):
        yield Change("score", f"of the study {_number(old.probability)} then, {_number(new.probability)} now")
    if old.presence != new.presence:
        yield Change("presence", f"{old.presence or 'not looked for'} then, {new.presence or 'not looked for'} now")
    yield from _outputs(old, new, tolerance)


def _findings(old: Findings, new: Findings, tolerance: Tolerance) -> Iterator[Change]:
    before, after = ({str(one.ordinal): one for one in said.findings} for said in (old, new))
    found = matches([_box(one) for one in old.findings], [_box(one) for one in new.findings])
    for mine, its in found:
        one, other = before.pop(mine.kind), after.pop(its.kind)
        if one.kind is not other.kind:
            yield Change("renamed", f"{_named(one)} is {other.kind.value} {other.ordinal} now")
        shift = max(abs(a - b) for a, b in zip(_edges(one), _edges(other), strict=True))
        if shift > tolerance.pixels:
            yield Change("moved", f"{_named(one)}: an edge by {shift:.1f} pixels")
        elif _size(one) != _size(other):
            yield Change("moved", f"{_named(one)}: long axis {_size(one)} then, {_size(other)} now")
        if _differ(one.probability, other.probability, tolerance.score):
            yield Change("score", f"{_named(one)}: {one.probability:.3f} then, {other.probability:.3f} now")
    for one in before.values():
        yield Change("vanished", f"{_named(one)}, probability {one.probability:.3f}")
    for one in after.values():
        yield Change("appeared", f"{_named(one)}, probability {one.probability:.3f}")


def _outputs(old: Findings, new: Findings, tolerance: Tolerance) -> Iterator[Change]:
    were, are = ({output.name: output for output in said.outputs} for said in (old, new))
    for name in dict.fromkeys([*were, *are]):
        one, other = were.get(name), are.get(name)
        if one is None or other is None:
            yield Change("outputs", f"{name} is given {'now' if one is None else 'then'} only")
        elif _output_differs(one, other, tolerance):
            yield Change("outputs", f"{name}: {_told(one)} then, {_told(other)} now")


def _output_differs(one: Output, other: Output, tolerance: Tolerance) -> bool:
    if (one.present, one.coding, one.unit) != (other.present, other.coding, other.unit):
        return True
    return _differ(one.value, other.value, tolerance.score if one.unit == "1" else abs(one.value) * tolerance.relative)


def _box(finding: Finding) -> Box:
    """Its kind is what it is called here: `matches` does not ask for it."""
    at = finding.region
    return Box(f"{at.sop_instance_uid}/{at.frame}", at.left, at.top, at.width, at.height, str(finding.ordinal))


def _edges(finding: Finding) -> tuple[float, float, float, float]:
    at = finding.region
    return at.left, at.top, at.left + at.width, at.top + at.height


def _size(finding: Finding) -> str:
    return "unknown" if finding.long_axis is None else f"{finding.long_axis.value:.1f} {finding.long_axis.unit}"


def _named(finding: Finding) -> str:
    return f"{finding.kind.value} {finding.ordinal}"


def _told(output: Output) -> str:
    presence = {True: " (present)", False: " (absent)", None: ""}[output.present]
    return f"{output.value:.4g}{'' if output.unit == '1' else f' {output.unit}'}{presence}"


def _differ(one: float | None, other: float | None, tolerance: float) -> bool:
    """Rounding aside: a difference of exactly the tolerance is none."""
    if one is None or other is None:
        return one is not other
    return abs(one - other) > tolerance + 1e-9


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"

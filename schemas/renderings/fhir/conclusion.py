"""What the AI says of a study, in plain sentences: `DiagnosticReport.conclusion`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, DEMONSTRATION, FindingKind, Findings, NotAnalysedReason
from schemas.outputs import Output
from schemas.renderings.fhir import codes
from schemas.renderings.labels import Language, phrase
from schemas.renderings.report_text import report_text

_UNCUT = 1_000_000
_KINDS = {FindingKind.NODULE: ("nodule", "nodules"), FindingKind.MASS: ("mass", "masses")}


def conclusion_of(findings: Findings, language: Language = "en") -> str:
    """All that is said, uncut, and what every text of this product says of itself: in English a few plain sentences, else the lines
    of the text for the report field."""
    if language != "en":
        return report_text(findings, language=language, lines=_UNCUT, limit=_UNCUT)
    sentences = [*_service(findings), *_said(findings)]
    if findings.verified_at is not None:
        sentences.insert(0, after_verification(findings.verified_at, language))
    said_already = findings.not_analysed is not None and findings.not_analysed.reason is NotAnalysedReason.NO_ORDER
    if not findings.subject.orders and not said_already:
        sentences.append("There is no order for this study.")
    return " ".join([*sentences, DEMONSTRATION])


def after_verification(verified_at: datetime, language: Language) -> str:
    """That a radiologist had verified the report before the AI answered."""
    moment = verified_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if language != "en":
        return f"{phrase('after-verification', language)} ({moment})"
    return f"After verification: AI answered when the radiologist's report had been verified ({moment})."


def _service(findings: Findings) -> Iterator[str]:
    """Of a report that stands beside the one every study has."""
    if findings.service != CHEST_RADIOGRAPH_FINDINGS:
        yield f"Report of the AI service {findings.service}."


def _said(findings: Findings) -> Iterator[str]:
    if findings.not_analysed is not None:
        yield f"Not analysed by AI: {codes.NOT_ANALYSED[findings.not_analysed.reason].display}."
        return
    if findings.locates:
        yield _located(findings)
    yield from _outputs(findings.outputs)
    if not findings.locates:  # else what is not mentioned would be read as not there
        yield "Nodules and masses of the lung were not looked for."


def _located(findings: Findings) -> str:
    if not findings.present:
        if findings.presence == "indeterminate":
            return (
                f"AI cannot tell whether there is a nodule or mass of the lung: its score of the study "
                f"({findings.probability:.2f}) reaches its threshold ({findings.threshold:.2f}), but it located none."
            )
        return "AI found no nodule or mass of the lung."
    kinds = Counter(finding.kind for finding in findings.findings)
    counted = [f"{kinds[kind]} {one if kinds[kind] == 1 else many}" for kind, (one, many) in _KINDS.items() if kinds[kind]]
    highest = max(finding.probability for finding in findings.findings)
    return f"AI suspects {' and '.join(counted)} of the lung (highest probability {highest:.2f})."


def _outputs(outputs: tuple[Output, ...]) -> Iterator[str]:
    """By their names and not by the words of the terminology, which are made for tables ("Endotracheal tube, device")."""
    if present := [f"{_words(output)} ({_value(output)})" for output in outputs if output.present]:
        yield f"AI sees: {', '.join(present)}."
    if absent := [_words(output) for output in outputs if output.present is False]:
        yield f"AI does not see: {', '.join(absent)}."
    if measured := [f"{_words(output)} {_value(output)}" for output in outputs if output.present is None]:
        yield f"AI measures: {', '.join(measured)}."


def _words(output: Output) -> str:
    return output.name.replace("-", " ")


def _value(output: Output) -> str:
    return f"{output.value:.2f}" if output.unit == codes.UNITY[0] else f"{output.value:.4g} {output.unit}"

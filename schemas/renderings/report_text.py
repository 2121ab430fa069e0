"""What the AI says of a study as text for a field of so many lines and characters, as a report or a RIS has one. What does not fit
is left out from the end of what matters least, and the text says how much that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, WITHDRAWING, Finding, Findings, NotAnalysedReason
from schemas.hl7v2.charset import codec_of
from schemas.outputs import Output
from schemas.renderings import labels
from schemas.renderings.labels import Language, phrase

Unit = Literal["characters", "bytes"]
#: whether the disclaimer counts against the limits, comes on top of them, or is shown elsewhere by the receiver
Disclaimer = Literal["within", "beyond", "none"]

#: what can never be left out fits into this, of whatever service and in either language
LEAST = 380
#: of a text that is cut: more pieces than anybody reads
_MOST = 500


@dataclass(frozen=True, slots=True)
class _Piece:
    """What may be left out. `key`: pieces that have it in common are told on one line, behind these words; `rank`: the lower, the
    longer it is kept."""

    text: str
    rank: tuple[float, ...]
    key: str = ""


def report_text(
    findings: Findings,
    *,
    language: Language,
    lines: int = 10,
    limit: int = 510,
    unit: Unit = "characters",
    charset: str = "UNICODE UTF-8",
    disclaimer: Disclaimer = "within",
) -> str:
    """At most `lines` lines, parted by LF, and `limit` characters, or bytes in `charset` (table 0211), line ends included. Raises
    ValueError for a field that cannot hold what must be said, whatever was found: fewer than LEAST or no line."""
    check_limits(lines, limit, unit)
    codec = codec_of("", charset) if unit == "bytes" else ""

    def length(text: str) -> int:
        return len(text.encode(codec, "replace")) if codec else len(text)

    last = [labels.disclaimer(language)] if disclaimer != "none" else []
    within = last if disclaimer == "within" else []
    head, pieces = list(_head(findings, language)), list(_pieces(findings, language))
    text = _fitting(head, pieces, within, language, lines, lambda text: length(text) <= limit)
    return "\n".join([text, *last]) if disclaimer == "beyond" else text


def check_limits(lines: int, limit: int, unit: Unit) -> None:
    """Raises ValueError."""
    if lines < 1 or limit < LEAST:
        raise ValueError(f"a field for findings needs at least one line and {LEAST} {unit}")


def _fitting(
    head: Sequence[str],
    pieces: Sequence[_Piece],
    last: Sequence[str],
    language: Language,
    lines: int,
    fits: Callable[[str], bool],
) -> str:
    """With as many pieces as fit, those that matter most."""
    by_rank = sorted(range(len(pieces)), key=lambda at: pieces[at].rank)
    for kept in (len(pieces), *range(min(len(pieces) - 1, _MOST), -1, -1)):
        chosen = [pieces[at] for at in sorted(by_rank[:kept])]
        left_out = len(pieces) - kept
        more = [phrase("more", language, number=left_out)] if left_out else []
        told = [*head, *_lines(chosen, language), *more, *last]
        if kept == 0 and len(told) > lines:  # few lines: what must be said shares the last one
            told = [*told[: lines - 1], " ".join(told[lines - 1 :])]
        text = "\n".join(told)
        if len(told) <= lines and fits(text):
            return text
    raise ValueError("what must be said does not fit")


def _lines(pieces: Sequence[_Piece], language: Language) -> Iterator[str]:
    at = 0
    while at < len(pieces):
        key, end = pieces[at].key, at + 1
        while key and end < len(pieces) and pieces[end].key == key:
            end += 1
        told = (", " if language == "en" else "、").join(piece.text for piece in pieces[at:end])
        yield _said(key, told, language) if key else told
        at = end


def _head(findings: Findings, language: Language) -> Iterator[str]:
    """What is never left out."""
    if findings.verified_at is not None:
        yield _end(phrase("after-verification", language), language)
    if findings.service != CHEST_RADIOGRAPH_FINDINGS:
        yield _said(phrase("service", language), findings.service, language)
    if findings.not_analysed is not None:
        reason = findings.not_analysed.reason
        if reason in WITHDRAWING:
            yield _end(phrase("withdrawn", language), language)
        yield _end(_said(phrase("not-analysed", language), labels.not_analysed(reason, language), language), language)
        return
    present = findings.presence
    if present is None:
        yield _end(phrase("not-looked-for", language), language)
        return
    answer = labels.answer(present, language)
    if present == "present":
        answer += f" ({len(findings.findings)})"
    if findings.probability is not None and findings.threshold is not None:
        scores = ((phrase("probability", language), findings.probability), (phrase("threshold", language), findings.threshold))
        answer = _listed([answer, *(f"{words} {_score(value)}" for words, value in scores)], language)
    if present == "indeterminate":
        answer = _said(answer, phrase("no-place", language), language)
    yield _said(labels.nodule_found(language), answer, language)


def _pieces(findings: Findings, language: Language) -> Iterator[_Piece]:
    """In the order in which they are told: findings from the most probable on, then what is seen, measured and not seen."""
    for place, finding in enumerate(sorted(findings.findings, key=lambda one: (-one.probability, one.ordinal))):
        yield _Piece(_finding(finding, findings, language), (0 if place == 0 else 2, place))
    groups = (("seen", True, 1), ("measured", None, 3), ("not-seen", False, 4))
    for key, present, rank in groups:
        for output in sorted(findings.outputs, key=lambda one: -one.value if present else 0):
            if output.present is present:
                yield _Piece(_output(output, language), (rank, -output.value if present else 0), phrase(key, language))
    unlinked = not findings.subject.orders
    if unlinked and (findings.not_analysed is None or findings.not_analysed.reason is not NotAnalysedReason.NO_ORDER):
        yield _Piece(_end(phrase("no-order", language), language), (5,))


def _finding(finding: Finding, findings: Findings, language: Language) -> str:
    """ "2. Lung mass, probability 0.75, upper left of the image (2/2), long axis 31.5 mm at the detector": by its ordinal, which
    it has in every other rendering too."""
    uids = [image.sop_instance_uid for image in findings.images]
    at = uids.index(finding.region.sop_instance_uid)
    where = labels.place(finding.region, findings.images[at], language)
    if len(uids) > 1:
        where += f" ({at + 1}/{len(uids)})"
    parts = [labels.finding_kind(finding.kind, language), f"{phrase('probability', language)} {_score(finding.probability)}", where]
    if finding.long_axis is not None:
        parts.append(labels.size(finding.long_axis, language))
    return f"{finding.ordinal}. {_listed(parts, language)}"


def _output(output: Output, language: Language) -> str:
    value = _score(output.value) if output.unit == "1" else f"{labels.number(output.value)} {output.unit}"
    return f"{labels.output(output, language)} {value}"


def _score(value: float) -> str:
    """Two digits. What is not nothing and not certain is not said to be."""
    return "<0.01" if 0 < value < 0.005 else ">0.99" if 0.995 <= value < 1 else f"{value:.2f}"


def _listed(parts: Sequence[str], language: Language) -> str:
    return (", " if language == "en" else "，").join(parts)


def _said(what: str, told: str, language: Language) -> str:
    return f"{what}: {told}" if language == "en" else f"{what}：{told}"


def _end(sentence: str, language: Language) -> str:
    return sentence + ("." if language == "en" else "。")

"""What a document of ours says in words, each a sentence of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

from schemas.findings import Findings, NotAnalysed
from schemas.renderings import labels
from schemas.renderings.labels import Language, phrase


def of_report(findings: Findings, language: Language) -> Iterator[str]:
    """What it is first: a reader shows them in this order, before what was found."""
    yield labels.disclaimer(language)
    if findings.verified_at is not None:
        moment = findings.verified_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        yield _sentence(f"{phrase('after-verification', language)} ({moment})", language)
    if not findings.locates:  # else what is not mentioned would be read as not there
        yield _sentence(phrase("not-looked-for", language), language)
    if not findings.subject.orders:
        yield _sentence(phrase("no-order", language), language)


def of_note(why: NotAnalysed, language: Language) -> Iterator[str]:
    yield _sentence(phrase("withdrawn", language), language)
    colon = ": " if language == "en" else "："
    yield _sentence(f"{phrase('not-analysed', language)}{colon}{labels.not_analysed(why.reason, language)}", language)
    yield labels.disclaimer(language)


def _sentence(words: str, language: Language) -> str:
    """Labels in capitals are for lines among others; here each is a sentence of its own."""
    if language != "en":
        return words + "。"
    head, colon, rest = words.partition(":")
    return f"{head.capitalize() if head.isupper() else head}{colon}{rest}."

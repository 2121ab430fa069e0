"""Reading defined terms in what people type: "Thórax p.a. li/re" names CHEST and PA. Nothing read here is ever repeated."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping


def names_any(texts: Iterable[str | None], words: Iterable[str]) -> bool:
    """Whether one of the words, or word groups, stands in one of the texts: whole, whatever case, accents and punctuation."""
    read = [_spaced(text) for text in texts if text]
    return any(_spaced(word) in text for word in words for text in read)


def named(texts: Iterable[str | None], words: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """The terms (keys) of which the term itself, or a word for it, stands in one of the texts."""
    texts = tuple(texts)
    return frozenset(term for term, others in words.items() if names_any(texts, (term, *others)))


def term(value: str | None) -> str:
    """A defined term as the standard writes it."""
    return (value or "").strip().upper()


def stated(value: str | None, words: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """The terms that a header states: those that `words` know it by, or its own; none where it is empty."""
    return named([value], words) or frozenset(filter(None, [term(value)]))


def _spaced(text: str) -> str:
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one)).upper()
    abbreviated = re.sub(r"\b([A-Z])\.(?=[A-Z]\b)", r"\1", plain)  # p.a.
    return " ".join(["", *re.findall(r"[^\W_]+", abbreviated), ""])

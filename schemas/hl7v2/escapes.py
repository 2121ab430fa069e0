"""Escape sequences (HL7 v2.5.1 2.7): from the text between two separators to what its writer meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import field as attribute
from functools import lru_cache
from re import Match

from schemas.hl7v2.charset import decode


@dataclass(frozen=True, slots=True)
class Separators:
    """MSH-1 and MSH-2 (2.14.9.1, 2.14.9.2). Empty where MSH-2 leaves one out: then it does not occur."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    #: none is a letter or a digit: what consists of these holds no separator
    all_marks: bool = attribute(init=False, compare=False, default=True)

    def __post_init__(self) -> None:
        used = (self.component, self.repetition, self.escape, self.subcomponent)
        object.__setattr__(self, "all_marks", not any(separator.isalnum() for separator in used))

    @classmethod
    def of(cls, header: str) -> Separators:
        """Of a line that begins with MSH."""
        return _separators(header[3], header[4:].split(header[3], 1)[0][:4])


@lru_cache(maxsize=64)
def _separators(field: str, declared: str) -> Separators:
    return Separators(field, *(declared[i : i + 1] for i in range(4)))


_MEANT = {"F": "field", "S": "component", "T": "subcomponent", "R": "repetition", "E": "escape"}


@lru_cache(maxsize=64)
def _pattern(escape: str) -> re.Pattern[str]:
    mark = re.escape(escape)
    # a hundred line ends and more are no layout: a message of a few bytes would fill the memory
    # consecutive \Xdd..\ are one run of bytes: a character may be spread over them
    return re.compile(
        rf"(?P<hex>(?:{mark}X(?:[0-9A-Fa-f]{{2}})+{mark})+)|{mark}(?P<name>[FSTREHN]|\.br|\.sp[+]?\d{{0,2}}){mark}", re.ASCII
    )


def unescape(text: str, separators: Separators, codec: str) -> str:
    """Decodes \\F\\ \\S\\ \\T\\ \\R\\ \\E\\ \\Xdd..\\ (bytes of the message's own character set), \\.br\\ and \\.sp\\ (line ends);
    drops highlighting (\\H\\ \\N\\). Anything else, as \\.in+4\\ or a lone escape character, stays as it is: no text is lost."""
    escape = separators.escape
    if not escape or escape not in text:
        return text

    def decoded(match: Match[str]) -> str:
        name = match["name"]
        if name is None:
            return decode(bytes.fromhex(re.sub(rf"{re.escape(escape)}X?", "", match["hex"])), codec)[0]
        attribute_of = _MEANT.get(name)
        if attribute_of is not None:
            meant: str = getattr(separators, attribute_of)
            return meant
        if name.startswith("."):
            return "\n" * max(1, int(name[3:].lstrip("+") or 1)) if name.startswith(".sp") else "\n"
        return ""  # H, N

    return _pattern(escape).sub(decoded, text)

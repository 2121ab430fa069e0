"""Escape sequences (HL7 v2.5.1 2.7): from the text between two separators to what its writer meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
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

    @classmethod
    def of(cls, header: str) -> Separators:
        """Of a line that begins with MSH."""
        return _separators(header[3], header[4:].split(header[3], 1)[0][:4])


@lru_cache(maxsize=64)
def _separators(field: str, declared: str) -> Separators:
    return Separators(field, *(declared[i : i + 1] for i in range(4)))


@lru_cache(maxsize=64)
def _pattern(escape: str) -> re.Pattern[str]:
    mark = re.escape(escape)
    # consecutive \Xdd..\ are one run of bytes: a character may be spread over them
    return re.compile(rf"(?P<hex>(?:{mark}X(?:[0-9A-Fa-f]{{2}})+{mark})+)|{mark}(?P<name>[FSTREHN]|\.br|\.sp[+]?\d*){mark}")


def unescape(text: str, separators: Separators, codec: str) -> str:
    """Decodes \\F\\ \\S\\ \\T\\ \\R\\ \\E\\ \\Xdd..\\ (bytes of the message's own character set), \\.br\\ and \\.sp\\ (line ends);
    drops highlighting (\\H\\ \\N\\). Anything else, as \\.in+4\\ or a lone escape character, stays as it is: no text is lost."""
    escape = separators.escape
    if not escape or escape not in text:
        return text

    def decoded(match: Match[str]) -> str:
        if match["hex"]:
            digits = re.sub(rf"{re.escape(escape)}X?", "", match["hex"])
            return decode(bytes.fromhex(digits), codec)[0]
        name = match["name"]
        if name.startswith("."):
            return "\n" * max(1, int(name[3:].lstrip("+") or 1)) if name.startswith(".sp") else "\n"
        return {
            "F": separators.field,
            "S": separators.component,
            "T": separators.subcomponent,
            "R": separators.repetition,
            "E": escape,
            "H": "",
            "N": "",
        }[name]

    return _pattern(escape).sub(decoded, text)

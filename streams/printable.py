"""Text from records, for a terminal: whoever may write to the log must not speak to it, nor begin a new line."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from rich.text import Text

#: in JSON they stand within strings alone: controls that JSON leaves as they are (DEL, C1), marks of direction, separators
_UNPRINTABLE = re.compile("[^\n\x20-\x7e]")


def printable(text: str) -> str:
    """Controls (C0, C1), marks of direction and what else has no form of its own are replaced; any space is one."""
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def cell(word: str) -> Text:
    """Of a table of rich's, for what a person or something outside says: `[/x]` in it is no markup, which would end the command."""
    return Text(printable(word))


def printable_json(value: Any, indent: int | None = None) -> str:
    """JSON that says the same, letters of any script as they are; in the place of what is not printable stands its escape."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def _shown(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if unicodedata.category(letter) == "Zs" else "\N{REPLACEMENT CHARACTER}"

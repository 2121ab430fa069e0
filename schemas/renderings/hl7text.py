"""Values as ER7 writes them into a field (HL7 v2.5.1 2.7, 2.A)."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

#: hl7apy leaves & as it stands and takes text like \T\ for an escape: so text is escaped here, which it keeps
_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})
#: a line end would end the segment, a start or end block the message
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]+")
_URI = re.compile(r"(?:urn:|https?://)\S+\Z")
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+\Z")


def escaped(text: str) -> str:
    """Control characters become blanks: text of ours holds none."""
    return _CONTROL.sub(" ", text).translate(_ESCAPES)


def components(*parts: str, separator: str = "^") -> str:
    """Empty ones at the end are left out."""
    return separator.join(escaped(part) for part in parts).rstrip(separator)


def hierarchic(assigner: str, separator: str = "^") -> str:
    """HD (2.A.36): an OID or URI is a universal id, any other a namespace id."""
    if _OID.match(assigner):
        return components("", assigner, "ISO", separator=separator)
    if _URI.match(assigner):
        return components("", assigner, "URI", separator=separator)
    return escaped(assigner)


def entity(value: str, assigner: str) -> str:
    """EI (2.A.28)"""
    return f"{escaped(value)}^{hierarchic(assigner)}".rstrip("^")


def moment(at: datetime, zone: ZoneInfo) -> str:
    """TS (2.A.77) to the millisecond, with its offset."""
    local = at.astimezone(zone)
    return f"{local:%Y%m%d%H%M%S}.{local.microsecond // 1000:03d}{local:%z}"


def number(value: float) -> str:
    """NM (2.A.47) has no exponent: the shortest decimal that reads back as the same float, written out."""
    return format(Decimal(repr(float(value))), "f")

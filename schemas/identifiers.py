"""Identifiers, valid at construction.

A number without the one who assigned it names nobody: accession, order and patient numbers carry their assigner
(HL7 EI.2/CX.4, DICOM Issuer of ... Sequence); where none is sent, the site's default assigner is filled in at the edge.
"""

from __future__ import annotations

import re
from hashlib import sha1
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

#: Root of all UUIDv5 identities of radstream. Never change: every identity ever published hangs on it.
NAMESPACE = UUID("5b0ff4e4-6f0d-5f0e-9a4c-9d7a3c1d2e10")
_NAMESPACE = NAMESPACE.bytes

#: DICOM PS3.5 section 9.1: components without leading zeros, at most 64 characters.
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+\Z")


def identity(kind: str, *parts: str) -> UUID:
    """Deterministic identity of a thing of `kind`; parts are length-prefixed so that no two lists of parts collide."""
    return UUID(bytes=_uuid5(kind, parts))


def identity_text(kind: str, *parts: str) -> str:
    """`str(identity(...))` without the detour: every message that comes in has one made."""
    text = _uuid5(kind, parts).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _uuid5(kind: str, parts: tuple[str, ...]) -> bytes:
    """RFC 9562, 5.5."""
    name = kind + "".join([f"|{len(part)}:{part}" for part in parts])
    octets = bytearray(sha1(_NAMESPACE + name.encode("utf-8"), usedforsecurity=False).digest()[:16])
    octets[6] = octets[6] & 0x0F | 0x50  # version
    octets[8] = octets[8] & 0x3F | 0x80  # variant
    return bytes(octets)


class _Uid(str):
    """A DICOM UID (VR UI). Raises ValueError when it breaks PS3.5 section 9.1."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if len(value) > 64 or not _UID.match(value):
            raise ValueError(f"{cls.__name__} is not a DICOM UID (PS3.5 section 9.1)")
        return super().__new__(cls, value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class StudyInstanceUID(_Uid):
    """(0020,000D)"""

    __slots__ = ()


class SeriesInstanceUID(_Uid):
    """(0020,000E)"""

    __slots__ = ()


class SOPInstanceUID(_Uid):
    """(0008,0018)"""

    __slots__ = ()


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=250)]


class _Assigned(BaseModel):
    """A value and the assigner in whose space it is unique."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    value: _Text
    assigner: _Text

    @property
    def text(self) -> str:
        """value^assigner: also of a patient, so for keys and tables and never for a log or an error text."""
        return f"{self.value}^{self.assigner}"

    def __str__(self) -> str:
        return self.text


class AccessionNumber(_Assigned):
    """(0008,0050) with Issuer of Accession Number Sequence (0008,0051); HL7: see schemas/hl7v2/orders.py."""


class PlacerOrderNumber(_Assigned):
    """ORC-2/OBR-2 (HL7 v2.5.1 4.5.1.2)."""


class FillerOrderNumber(_Assigned):
    """ORC-3/OBR-3 (HL7 v2.5.1 4.5.1.3)."""


class PatientIdentifier(_Assigned):
    """PID-3 (CX) or (0010,0020) with Issuer of Patient ID (0010,0021)."""

    def __str__(self) -> str:
        return "<patient identifier>"  # never in a log or an error text

    __repr__ = __str__

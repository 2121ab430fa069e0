"""Which answers a message wants: MSH-15 and MSH-16, table 0155 (HL7 v2.5.1 2.9.2, 2.9.3)."""

from __future__ import annotations

from schemas.hl7v2.header import Header

_COMMIT, _APPLICATION = 15, 16
#: (to a success, to an error or a rejection)
_WANTS = {"AL": (True, True), "NE": (False, False), "ER": (False, True), "SU": (True, False)}
#: one answer too many is passed over, one too few stops a sender
_UNKNOWN = (True, True)


def enhanced(header: Header) -> bool:
    """One of the two is valued. Else the original mode holds: one answer, of the application."""
    return len(header.fields) > _COMMIT and bool(header.field(_COMMIT).strip() or header.field(_APPLICATION).strip())


def commit_wanted(header: Header, good: bool) -> bool:
    """In enhanced mode: CA for what is stored, else CE or CR. An empty MSH-15 beside a valued MSH-16 is NE."""
    return _wanted(header.field(_COMMIT), good)


def application_wanted(header: Header, good: bool) -> bool:
    """In enhanced mode: AA for what was used, else AE or AR. An empty MSH-16 beside a valued MSH-15 is NE."""
    return _wanted(header.field(_APPLICATION), good)


def _wanted(field: str, good: bool) -> bool:
    on_success, on_error = _WANTS.get(field.strip().upper() or "NE", _UNKNOWN)
    return on_success if good else on_error

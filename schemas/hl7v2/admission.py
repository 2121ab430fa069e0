"""Which messages a site takes, told from the MSH alone: the right environment, the right receiver, a version and a type that
are read. The listener and the normaliser ask the same question, for not every message comes through the listener."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.errors import UnsupportedMessage
from schemas.hl7v2.acknowledgement import VALUE_NOT_FOUND, Condition
from schemas.hl7v2.escapes import Separators
from schemas.hl7v2.header import Header
from schemas.hl7v2.message_types import USED

_Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

#: MSH-12, table 0104: 2, 2.1 ... 2.9; VID-1
_VERSION_2 = re.compile(r"2(\.\d{1,2}){0,2}\Z")
_TYPE_AND_EVENT = re.compile(r"(ACK|[A-Z][A-Z0-9]{2}\^[A-Z]{1,2}[0-9]{1,2})\Z")

#: table 0357; it has no word for a wrong address, but MSH-5 and MSH-6 are of the user's tables 0361 and 0362
_TYPE = Condition("200", "Unsupported message type", "MSH^1^9^1^1")
_EVENT = Condition("201", "Unsupported event code", "MSH^1^9^1^2")
_PROCESSING_ID = Condition("202", "Unsupported processing id", "MSH^1^11")
_VERSION = Condition("203", "Unsupported version id", "MSH^1^12")
_APPLICATION = replace(VALUE_NOT_FOUND, location="MSH^1^5")
_FACILITY = replace(VALUE_NOT_FOUND, location="MSH^1^6")
_MISROUTED = "it is meant for another receiver"


class Admission(BaseModel):
    """`processing_ids` (MSH-11, table 0103; an empty MSH-11 is P), `receiving_applications` (MSH-5.1) and
    `receiving_facilities` (MSH-6.1) that are taken; an empty list takes any, a message that names no receiver means us.
    `unused_types`: what becomes of a message of a type that nothing here reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processing_ids: Annotated[tuple[Literal["P", "T", "D"], ...], Field(min_length=1)] = ("P",)
    receiving_applications: tuple[_Name, ...] = ()
    receiving_facilities: tuple[_Name, ...] = ()
    unused_types: Literal["accept", "refuse"] = "accept"


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a message is not taken, in our own words; `condition` is what its sender is told."""

    field: str
    reason: str
    condition: Condition


class Inadmissible(UnsupportedMessage):
    """A well-formed message that this site does not take."""

    def __init__(self, step: str, reference: str, reason: str, condition: Condition) -> None:
        super().__init__(step, reference, reason)
        self.condition = condition


def objection(header: Header, admission: Admission, default_charset: str) -> Objection | None:
    """The first of what is wrong with it; None when it is welcome. `default_charset` (table 0211) is for an empty MSH-18."""
    told = *(header.text(number, default_charset) for number in (5, 6)), *map(header.field, (9, 11, 12))
    judge = _objection if sum(map(len, told)) < 250 else _objection.__wrapped__
    return judge(admission, header.separators, *told)


def used(header: Header) -> bool:
    """Whether anything here reads messages of its type."""
    return (header.component(9, 1).strip().upper(), header.component(9, 2).strip().upper()) in USED


def type_of(header: Header) -> str:
    """MSH-9.1^MSH-9.2 for counts and logs; "other" where these are no words of tables 0076 and 0003, but who knows what."""
    told = "^".join(header.component(9, number).strip().upper() for number in (1, 2)).removesuffix("^")
    return told if _TYPE_AND_EVENT.match(told) else "other"


@lru_cache(maxsize=1024)  # the headers of a sender differ in time and control id alone, and senders are few
def _objection(admission: Admission, separators: Separators, *told: str) -> Objection | None:
    """`told`: MSH-5, MSH-6 decoded, MSH-9, MSH-11, MSH-12 as sent."""
    header = Header(separators, ("",) * 5 + told[:2] + ("",) * 2 + told[2:3] + ("",) + told[3:])
    application, facility, kind, processing_id, version = (header.component(number, 1).strip() for number in (5, 6, 9, 11, 12))
    event = header.component(9, 2).strip()
    if (processing_id.upper() or "P") not in admission.processing_ids:
        taken = ", ".join(admission.processing_ids)
        return Objection("MSH-11", f"its processing id is none that this site takes ({taken})", _PROCESSING_ID)
    if version and not _VERSION_2.match(version):  # an empty one is read as what it looks like
        return Objection("MSH-12", "its version is none of HL7 2.x", _VERSION)
    if application and admission.receiving_applications and application not in admission.receiving_applications:
        return Objection("MSH-5", _MISROUTED, _APPLICATION)
    if facility and admission.receiving_facilities and facility not in admission.receiving_facilities:
        return Objection("MSH-6", _MISROUTED, _FACILITY)
    if admission.unused_types == "refuse" and (kind.upper(), event.upper()) not in USED:
        known = kind.upper() in {one for one, _ in USED}
        return Objection("MSH-9", "nothing here reads messages of its type", _EVENT if known else _TYPE)
    return None

"""What a site knows and its messages leave out."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from schemas.errors import UnsupportedMessage
from schemas.hl7v2.charset import codec_of

Assigner = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=250)]


def _known_charset(name: str) -> str:
    try:
        codec_of("", name)
    except UnsupportedMessage:
        raise ValueError("names no character set of table 0211 that is read") from None
    return name


#: one of table 0211
Charset = Annotated[str, AfterValidator(_known_charset)]


class Site(BaseModel):
    """`default_assigner` owns numbers sent without an assigner; `accession_assigner` accession numbers (None: the same).
    `time_zone` is where the senders' clocks stand when a time has no offset; `default_charset` (table 0211) is for an
    empty MSH-18."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default_assigner: Assigner
    accession_assigner: Assigner | None = None
    time_zone: ZoneInfo = ZoneInfo("UTC")
    default_charset: Charset = "UNICODE UTF-8"

    @property
    def issuer_of_accession_number(self) -> str:
        return self.accession_assigner or self.default_assigner

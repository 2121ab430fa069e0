"""What one receiver of ORU^R01 wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

from schemas.renderings.labels import Language
from schemas.renderings.report_text import Disclaimer, Unit, check_limits

#: MSH-18, table 0211
OruCharset = Literal["UNICODE UTF-8", "BIG-5"]
#: OBR-25 and OBX-11 of what nobody has verified (tables 0123 and 0085): R "entered, not verified", P "preliminary"
Unverified = Literal["R", "P"]
#: of the text: whatever a setting said when a state was told, no line of it stands behind these
MOST_LINES = 20
_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class OruTerms:
    """What one receiver wants. `sender` and `receiver`: MSH-3/4 and MSH-5/6; `accession_field`: where in OBR the accession number
    stands, None for nowhere; `assigner`: of our own OBR-3; `time_zone`: in which times are written, for receivers that show them
    without their offset; the others as in `report_text`. Raises ValueError for a text that cannot hold what must be said."""

    sender: tuple[str, str] = ("radstream", "")
    receiver: tuple[str, str] = ("", "")
    processing_id: Literal["P", "T", "D"] = "P"
    charset: OruCharset = "UNICODE UTF-8"
    language: Language = "en"
    status: Unverified = "R"
    accession_field: Literal[18, 19, 20, 21] | None = 18
    assigner: str = "radstream"
    time_zone: ZoneInfo = _UTC
    lines: int = 10
    limit: int = 510
    unit: Unit = "characters"
    disclaimer: Disclaimer = "within"

    def __post_init__(self) -> None:
        check_limits(self.lines, self.limit, self.unit)
        if self.lines > MOST_LINES:
            raise ValueError(f"a field for findings has at most {MOST_LINES} lines")

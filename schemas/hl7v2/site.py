"""What a site knows and its messages leave out, or write in their own way."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from schemas.errors import UnsupportedMessage
from schemas.hl7v2.charset import codec_of
from schemas.hl7v2.paths import Place, places

Assigner = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=250)]
#: the first place that holds a value counts
Places = Annotated[tuple[Place, ...], Field(min_length=1)]


def _known_charset(name: str) -> str:
    try:
        codec_of("", name)
    except UnsupportedMessage:
        raise ValueError("names no character set of table 0211 that is read") from None
    return name


#: one of table 0211
Charset = Annotated[str, AfterValidator(_known_charset)]


def _words(statuses: dict[str, ResultStatus]) -> dict[str, ResultStatus]:
    return {word.strip().upper(): code for word, code in statuses.items()}


#: OBR-25, HL7 v2.5.1 table 0123
ResultStatus = Literal["O", "I", "S", "A", "P", "C", "R", "F", "X", "Y", "Z"]
#: a sender's own word, in any case, and what it means; "" is an empty OBR-25
StatusWords = Annotated[dict[str, ResultStatus], AfterValidator(_words)]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SenderHabits(_Told):
    """What one sender does otherwise than the site says; None and an empty map: as the site says."""

    default_assigner: Assigner | None = None
    accession_assigner: Assigner | None = None
    time_zone: ZoneInfo | None = None
    accession_number: Places | None = None
    placer_order_number: Places | None = None
    filler_order_number: Places | None = None
    study_instance_uid: Places | None = None
    patient_identifier: Places | None = None
    prior_patient_identifier: Places | None = None
    result_status: StatusWords = Field(default_factory=dict)


#: MSH-3|MSH-4
SenderKey = Annotated[str, StringConstraints(pattern=r"^[^|]*\|[^|]*$")]


class Site(_Told):
    """`default_assigner` owns numbers sent without an assigner; `accession_assigner` accession numbers (None: the same).
    `time_zone` is where the senders' clocks stand when a time has no offset; `default_charset` (table 0211) is for an
    empty MSH-18. Then where identifiers stand, and what the words in OBR-25 and OBX-11 mean that are none of the tables'.
    `senders`: by MSH-3|MSH-4, or MSH-3|* for every facility of an application."""

    default_assigner: Assigner
    accession_assigner: Assigner | None = None
    time_zone: ZoneInfo = ZoneInfo("UTC")
    default_charset: Charset = "UNICODE UTF-8"
    #: IHE RAD TF-2 4.4: OBR-18; OMI: IPC-1; else the value of the filler order number, whose namespace says who assigned the
    #: *filler* number
    accession_number: Places = places("OBR-18", "IPC-1", "ORC-3.1", "OBR-3.1")
    #: in ORC and OBR alike (v2.5.1 4.5.1.2)
    placer_order_number: Places = places("ORC-2", "OBR-2")
    filler_order_number: Places = places("ORC-3", "OBR-3")
    #: IHE RAD TF-2 4.4.4.1.2.6; IPC-3 (EI)
    study_instance_uid: Places = places("ZDS-1.1", "IPC-3.1")
    patient_identifier: Places = places("PID-3")
    prior_patient_identifier: Places = places("MRG-1")
    #: as the radiology-oru corpus writes them
    result_status: StatusWords = {"FINAL": "F", "PRELIM": "P", "WET READ": "P"}
    senders: dict[SenderKey, SenderHabits] = Field(default_factory=dict)

    @property
    def issuer_of_accession_number(self) -> str:
        return self.accession_assigner or self.default_assigner

    def as_of(self, application: str, facility: str) -> Self:
        """What holds for messages of this sender."""
        habits = self.senders.get(f"{application}|{facility}") or self.senders.get(f"{application}|*")
        if habits is None:
            return self
        own = {name: value for name, value in habits if value is not None}
        return self.model_copy(update={**own, "result_status": {**self.result_status, **habits.result_status}})

    def result_code(self, word: str) -> str:
        """The code of table 0123 or 0085 for what stands in OBR-25 or OBX-11; an unknown word as it is, upper case."""
        word = word.upper()
        return self.result_status.get(word, word)

"""Which answer a trouble gets. The standard's meaning is the default; a peer may have a map of its own, because engines do
not agree: most send again after AE and put aside after AR, some do it the other way round or stop at both."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from schemas.hl7v2.acknowledgement import AcknowledgementCode

Answer = Literal["accept", "error", "reject"]


class Trouble(StrEnum):
    """Why a message is not simply accepted."""

    #: no HL7 message, too large, a broken batch
    UNREADABLE = "unreadable"
    #: MSH-5, MSH-6, MSH-9, MSH-11, MSH-12, MSH-18: not for us, or not of what we take
    UNSUPPORTED = "unsupported"
    #: found when normalising, so in an application answer only
    CONTENT = "content"
    #: the log is away
    STORAGE = "storage"
    #: a fault of our own
    INTERNAL = "internal"


#: HL7 v2.5.1 2.9.2.1, 2.9.3.1: a rejection is for what will not become acceptable by waiting, an error for the rest. Table 0008
#: would allow AR for a receiver in trouble too; but a sender that is told AR puts the message aside, and it is lost to the day.
STANDARD: Mapping[Trouble, Answer] = {
    Trouble.UNREADABLE: "reject",
    Trouble.UNSUPPORTED: "reject",
    Trouble.CONTENT: "error",
    Trouble.STORAGE: "error",
    Trouble.INTERNAL: "error",
}
#: what nobody may have called accepted: the sender has the only copy
NEVER_ACCEPTED = (Trouble.STORAGE, Trouble.INTERNAL)

_CODES: dict[tuple[Answer, bool], AcknowledgementCode] = {
    ("accept", False): AcknowledgementCode.ACCEPT,
    ("error", False): AcknowledgementCode.ERROR,
    ("reject", False): AcknowledgementCode.REJECT,
    ("accept", True): AcknowledgementCode.COMMIT_ACCEPT,
    ("error", True): AcknowledgementCode.COMMIT_ERROR,
    ("reject", True): AcknowledgementCode.COMMIT_REJECT,
}


def code_for(trouble: Trouble | None, agreed: Mapping[Trouble, Answer], *, commit: bool = False) -> AcknowledgementCode:
    """MSA-1 for a message that has `trouble` (None: it has none), by what is `agreed` with its peer, else by the standard;
    `commit`: the commit answer of enhanced mode."""
    answer: Answer = "accept" if trouble is None else agreed.get(trouble, STANDARD[trouble])
    return _CODES[answer, commit]

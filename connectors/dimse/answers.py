"""What a caller is answered (PS3.7 annex C), and why, in words that fit Error Comment (0000,0902)."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from schemas.errors import MissingIdentifier, Rejected

#: value representation LO
_COMMENT_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """`error_id` is (0000,0903)."""

    status: int
    comment: str = ""
    error_id: int | None = None

    def as_data_set(self) -> Dataset:
        """As pynetdicom's handlers return it."""
        said = Dataset()
        said.Status = self.status
        if self.comment:
            said.ErrorComment = self.comment[:_COMMENT_LIMIT]
        if self.error_id is not None:
            said.ErrorID = self.error_id
        return said


SUCCESS = Answer(0x0000)
#: the only status that senders try again for
AGAIN_LATER = Answer(0x0110, "Nothing was taken; send it again later")
#: PS3.4 F.7.2.2.4
NO_LONGER = Answer(0x0110, "Performed Procedure Step Object may no longer be updated", 0xA710)
DUPLICATE = Answer(0x0111, "This step exists and its N-CREATE said otherwise")
UNKNOWN = Answer(0x0112, "No N-CREATE of this step is known, or it is over")
TOO_MANY = Answer(0x0213, "A step of more instances than are taken")
NO_UID = Answer(0x0117, "SOP Instance UID is no UID")


def to_refused(error: Rejected) -> Answer:
    """Missing Attribute, else Invalid Attribute Value."""
    return Answer(0x0120 if isinstance(error, MissingIdentifier) else 0x0106, error.reason)

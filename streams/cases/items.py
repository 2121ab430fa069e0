"""What can be known of a case: one class for each kind of thing. `at` and `place` are those of the record on the log that told it;
`words` is a line for people. None holds a patient's name or number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from schemas.ports import Place

#: a moment as the page writes it
Told = Callable[[datetime], str]


@dataclass(frozen=True, slots=True)
class Item(ABC):
    at: datetime
    place: Place

    @abstractmethod
    def words(self, told: Told) -> str: ...


@dataclass(frozen=True, slots=True)
class Message(Item):
    """An HL7 v2 message that had come. `type`: MSH-9; `sender`: MSH-3|MSH-4; `used`: something that was made of it stood on the log
    too."""

    type: str
    message_control_id: str
    sender: str
    used: bool

    def words(self, told: Told) -> str:
        return f"{self.type} {self.message_control_id or '(no MSH-10)'} from {self.sender}" + (
            "" if self.used else ", not used yet"
        )


@dataclass(frozen=True, slots=True)
class Order(Item):
    """`status` of OrderStatus, after the newest word of each sender; `occurred_at`: when that happened, as its sender says."""

    placer_order_number: str | None
    filler_order_number: str | None
    accession_number: str | None
    status: str
    priority: str
    sender: str
    occurred_at: datetime

    def words(self, told: Told) -> str:
        numbers = {"placer": self.placer_order_number, "filler": self.filler_order_number}
        named = ", ".join(f"{what} {number}" for what, number in numbers.items() if number) or "without a number of its own"
        urgent = ", STAT" if self.priority == "stat" else ""
        under = f", accession number {self.accession_number}" if self.accession_number else ""
        return f"{self.status}{urgent}: {named}{under}, says {self.sender} as of {told(self.occurred_at)}"


@dataclass(frozen=True, slots=True)
class Study(Item):
    """As the archive last told it. `images`: eligible ones; `gone`: the archive held nothing of it any more."""

    study_instance_uid: str
    images: int
    revision: str
    source: str
    gone: bool

    def words(self, told: Told) -> str:
        if self.gone:
            return f"study {self.study_instance_uid} is gone from the archive, says {self.source}"
        many = f"{self.images} image" + ("" if self.images == 1 else "s")
        return f"study {self.study_instance_uid}, {many}, revision {self.revision[:8]}, says {self.source}"


@dataclass(frozen=True, slots=True)
class Answer(Item):
    """What the AI had said of a study, or why it had said nothing; `summary` in the words of the timeline. `stands`: nothing newer
    was said then; `asked`: a question only, to which no answer had come."""

    study_instance_uid: str
    service: str
    sequence: int
    summary: str
    outward: bool
    stands: bool
    asked: bool = False
    #: NAME/VERSION
    model: str | None = None
    #: how many; None of a model that looks for nothing with a place
    findings: int | None = None
    not_analysed: str | None = None
    after_verification: bool = False
    #: from which a person published it
    replay: str | None = None

    def words(self, told: Told) -> str:
        by = f", model {self.model}" if self.model else ""
        if self.asked:
            return f"{self.summary}: no answer had come"
        published = f", published from the replay {self.replay}" if self.replay else ""
        return self.summary + by + published + ("" if self.stands else ", replaced since")


@dataclass(frozen=True, slots=True)
class Report(Item):
    """A radiologist's report: `state` is drafted, signed or amended; `result_status`: OBR-25 as sent; `versions`: how often it had
    been sent; `occurred_at`: OBR-22."""

    state: str
    result_status: str
    sender: str
    service_code: str | None
    versions: int
    occurred_at: datetime

    def words(self, told: Told) -> str:
        of = f" of {self.service_code}" if self.service_code else ""
        status = f" (OBR-25 {self.result_status})" if self.result_status else ""
        sent = f", sent {self.versions} times" if self.versions > 1 else ""
        return f"report{of} {self.state}{status}, says {self.sender} as of {told(self.occurred_at)}{sent}"


@dataclass(frozen=True, slots=True)
class Held(Item):
    """What a destination had acknowledged. `sequence`: of the state; `behind`: a newer state had been said."""

    destination: str
    study_instance_uid: str
    sequence: int
    outcome: str
    acknowledgement: str
    behind: bool

    def words(self, told: Told) -> str:
        answer = f" ({self.acknowledgement})" if self.acknowledgement else ""
        of = f"state {self.sequence} of study {self.study_instance_uid}{answer}"
        said = f"holds {of}" if self.outcome == "stored" else f"was not sent {of}: it holds a later one"
        return f"{self.destination} {said}" + (", a newer one was said" if self.behind else "")


@dataclass(frozen=True, slots=True)
class Discrepant(Item):
    """`state`: open, escalated, acknowledged or withdrawn."""

    discrepancy_id: str
    study_instance_uid: str
    service: str
    state: str

    def words(self, told: Told) -> str:
        return f"{self.state}: {self.discrepancy_id}, study {self.study_instance_uid}"


@dataclass(frozen=True, slots=True)
class DeadLetter(Item):
    """`of`: the place of its original."""

    of: str
    step: str
    error: str

    def words(self, told: Told) -> str:
        return f"{self.error} in {self.step}, of {self.of}"


@dataclass(frozen=True, slots=True)
class Gone(Item):
    """A record that cannot be read any more: `why`, and what the timeline had noted of it (or which record it led to)."""

    why: str
    noted: str

    def words(self, told: Told) -> str:
        return f"{self.noted} [{self.why}]"

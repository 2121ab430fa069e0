"""What the database remembers of what destinations were told, and which state of a study is the latest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from schemas.findings import ServiceName
from schemas.identifiers import StudyInstanceUID


@dataclass(frozen=True, slots=True)
class Telling:
    """The state that a destination was told last. What it holds is `findings` once `answered`; until then it may be `held` (what
    it had answered before), any of `unanswered` (told since, oldest first), or `findings`. Once answered, `unanswered` are those of
    which it would not be told that they hold no longer: they may stand there still. All are Findings as JSON."""

    sequence: int
    findings: bytes
    answered: bool = False
    acknowledgement: str = ""
    held: bytes | None = None
    unanswered: tuple[bytes, ...] = ()

    def followed_by(self, sequence: int, findings: bytes) -> Telling:
        """The next one, before it is told: nothing that may have arrived is forgotten."""
        if self.answered:
            return Telling(sequence, findings, held=self.findings, unanswered=self.unanswered)
        return Telling(sequence, findings, held=self.held, unanswered=(*self.unanswered, self.findings))

    def with_earlier(self, findings: bytes) -> Telling:
        """An earlier state is told after it: that one may be there too, from now on."""
        return self if findings in (self.held, *self.unanswered) else replace(self, unanswered=(*self.unanswered, findings))


class Tellings(Protocol):
    """Errors: StoreUnavailable. Of a service beside the one that every study has, `destination` is DESTINATION#SERVICE."""

    async def begin_telling(self, destination: str, study: StudyInstanceUID, sequence: int, findings: bytes) -> Telling:
        """To be called before anything is told. What is kept now: this state, or an equal or higher one that was kept before."""
        ...

    async def answer_telling(
        self, destination: str, study: StudyInstanceUID, sequence: int, acknowledgement: str, left: Sequence[bytes] = ()
    ) -> None:
        """The destination has answered this state; `left`: but may hold these still. Nothing, when a higher one is kept."""
        ...

    async def tell_earlier(self, destination: str, study: StudyInstanceUID, findings: bytes) -> Telling:
        """To be called before a state is told that is earlier than the one kept, which was not answered; what is kept now. Nothing,
        when that was answered meanwhile."""
        ...

    async def put_warned(self, receiver: str, discrepancy_id: UUID) -> None:
        """To be called before a receiver is told that a discrepancy was escalated."""
        ...

    async def warned(self, receiver: str, discrepancy_id: UUID) -> bool: ...

    async def put_latest_state(self, topic: str, study: StudyInstanceUID, service: ServiceName, sequence: int) -> None:
        """A state of the study stands on the topic for all to be told. Keeps the highest."""
        ...

    async def latest_state(self, topic: str, study: StudyInstanceUID, service: ServiceName) -> int:
        """The highest number put; 0: none. A view: it may lag behind the topic, it never runs ahead of it."""
        ...

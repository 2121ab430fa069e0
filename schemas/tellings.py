"""What the database remembers for destinations that are told and cannot be asked, and which state of a study is the latest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from schemas.findings import ServiceName
from schemas.identifiers import StudyInstanceUID


@dataclass(frozen=True, slots=True)
class Telling:
    """The state that a destination was told last. What it holds is `findings` once `answered`; until then it may be `held` (what
    it had answered before), any of `unanswered` (told since, oldest first), or `findings`. All are Findings as JSON."""

    sequence: int
    findings: bytes
    answered: bool = False
    acknowledgement: str = ""
    held: bytes | None = None
    unanswered: tuple[bytes, ...] = ()

    def followed_by(self, sequence: int, findings: bytes) -> Telling:
        """The next one, before it is told: nothing that may have arrived is forgotten."""
        if self.answered:
            return Telling(sequence, findings, held=self.findings)
        return Telling(sequence, findings, held=self.held, unanswered=(*self.unanswered, self.findings))


class Tellings(Protocol):
    """Errors: StoreUnavailable. Of a service beside the one that every study has, `destination` is DESTINATION#SERVICE."""

    async def begin_telling(self, destination: str, study: StudyInstanceUID, sequence: int, findings: bytes) -> Telling:
        """To be called before anything is told. What is kept now: this state, or an equal or higher one that was kept before."""
        ...

    async def answer_telling(self, destination: str, study: StudyInstanceUID, sequence: int, acknowledgement: str) -> None:
        """The destination has answered this state; nothing, when a higher one is kept meanwhile."""
        ...

    async def put_latest_state(self, topic: str, study: StudyInstanceUID, service: ServiceName, sequence: int) -> None:
        """A state of the study stands on the topic for all to be told. Keeps the highest."""
        ...

    async def latest_state(self, topic: str, study: StudyInstanceUID, service: ServiceName) -> int:
        """The highest number put; 0: none. A view: it may lag behind the topic, it never runs ahead of it."""
        ...

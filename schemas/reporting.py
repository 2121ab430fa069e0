"""The port of receivers of which we remember what they were told: an archive, a RIS, a web server.
A contract suite in tests/contract/reporting_system.py runs on every implementation."""

from __future__ import annotations

from typing import Protocol

from schemas.findings import Findings
from schemas.ports import Acknowledgement


class ReportingSystem(Protocol):
    """Tells each state of a study in the receiver's own idiom; which state, and in which order, `streams.steps.inform` decides."""

    async def tell(self, findings: Findings, held: Findings | None) -> Acknowledgement:
        """Bring the receiver to this state. `held`: what it was told last, though perhaps without an answer; None: nothing.
        Repeating it changes nothing there. What is not analysed withdraws what is held, in the receiver's idiom.

        Raises ReceiverUnavailable, ArchiveUnavailable (down: told again when it is back); ItemNotServed (well, but fails on this
        one); AccessRefused, ResourceRefused, InvalidResource (a person must act)."""
        ...

    async def probe(self) -> None:
        """Whether it could be told anything now: for `radstream doctor`, and to tell a receiver that is down from one that refuses
        one item. Leaves no trace there. Raises as `tell`."""
        ...

    async def close(self) -> None: ...

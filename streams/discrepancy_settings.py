"""Settings of discrepancies: answers of the AI after a radiologist had verified."""

from __future__ import annotations

from streams.section import Seconds, Section


class DiscrepancySettings(Section):
    #: from the answer to the escalation of a discrepancy that nobody acknowledged; None: never
    escalate_after_s: Seconds | None = None
    #: the web server, by its name among the destinations, that is told of escalations; None: nobody
    receiver: str | None = None

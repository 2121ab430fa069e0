"""Write the views: the timeline that `radstream case` reads, one line in our own words for each record, no patient data; which
records name a case and what each came from, for a replay; and the latest state of each report, which delivery asks for."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.case_store import CaseStore, TimelineEntry
from schemas.ports import Outgoing, Record
from streams import timeline
from streams.case_names import Names
from streams.causes import cause_of
from streams.timeline import line_of
from streams.topics import DISCREPANCIES, ORDERS, PATIENTS, REPORTS, REQUESTS, REQUESTS_BULK, REQUESTS_STAT, RESULTS, STUDIES

#: the topics that the timeline shows
TOPICS = timeline.TOPICS

#: of these it is kept what their records name
NAMED = (ORDERS, REPORTS, PATIENTS, STUDIES, REQUESTS, REQUESTS_STAT, REQUESTS_BULK, RESULTS, DISCREPANCIES)


async def project(record: Record, *, cases: CaseStore) -> Sequence[Outgoing]:
    """One record of a topic in TOPICS. Raises MalformedMessage, UnsupportedMessage (another topic), StoreUnavailable."""
    line = line_of(record)
    if line.state is not None:  # first: whoever is behind need not tell what is no longer so
        await cases.put_latest_state(record.place.topic, *line.state)
    await cases.put_timeline(
        TimelineEntry(
            at=record.timestamp,
            place=record.place,
            type=record.header("ce_type") or "",
            what=line.what + _led_to_by(record),
            study_instance_uid=line.study,
            accession_number=None if line.accession is None else str(line.accession),
        ),
        line.names,
        None if line.names is None else cause_of(record),
    )
    return ()


def names_in(record: Record) -> Names:
    """What a record of a topic in NAMED names. Raises as `project`."""
    return line_of(record).names or frozenset()


def _led_to_by(record: Record) -> str:
    """A merge or an unlink stands in no case of its own: what it led to names it."""
    cause = record.header("cause") or ""
    return f", after {cause}" if cause.startswith(f"{PATIENTS.name}/") else ""

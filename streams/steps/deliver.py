"""`ai.findings` -> one destination: bring it to the latest state of the study (rule 9), and record what it now holds."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.case_store import CaseStore, Delivery
from schemas.errors import Conflict, MalformedMessage
from schemas.ports import Outgoing, Record, ReportStore
from schemas.renderings.fhir.envelope import open_bundle
from streams.deliveries import LATER_STATE, Outcome, delivered, place_of


async def deliver(record: Record, *, destination: str, store: ReportStore, cases: CaseStore) -> Sequence[Outgoing]:
    """An answer is not sent when a later state was, or stands on the topic; what says that there is none is sent until a later
    state is there, which may be refused (of two the server keeps the later one). The same state is sent again when its record
    comes again: the store makes nothing of it, and a destination that lost its data gets it back by a replay. Raises
    MalformedMessage; Conflict when the destination knows more than we do (parked: another process may be about to record it; if
    none does, a person must see it); and what `store` and `cases` raise. Of a service beside the one that every study has,
    destinations are recorded and told as DESTINATION#SERVICE."""
    try:
        envelope = open_bundle(record.value)
    except ValueError as error:
        raise MalformedMessage("deliver", str(record.place), str(error)) from None
    study, destination = envelope.study_instance_uid, place_of(destination, envelope.service)
    cancelled = envelope.report.get("status") == "cancelled"
    outcome: Outcome
    held = await cases.delivered(destination, study)
    if held is not None and held.sequence > envelope.sequence:
        outcome, acknowledgement = "superseded", held.acknowledgement
    elif not cancelled and await cases.latest_state(record.place.topic, study, envelope.service) > envelope.sequence:
        outcome, acknowledgement = "superseded", ""  # that one is sent in its place
    else:
        answer = await store.put(record.value)
        if answer.superseded:
            held = await cases.delivered(destination, study)
            if held is None or held.sequence <= envelope.sequence:
                raise Conflict("deliver", f"study {study} to {destination}", LATER_STATE)
        outcome, acknowledgement = "superseded" if answer.superseded else "stored", answer.reference
    if outcome == "stored":
        await cases.put_delivery(Delivery(destination, study, envelope.analysis_id, envelope.sequence, acknowledgement))
    about = (study, envelope.analysis_id, envelope.sequence, envelope.time)
    return [delivered(record, destination, *about, outcome, acknowledgement)]

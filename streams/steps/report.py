"""`ai.results` -> `ai.findings`: Findings as a FHIR R4 Bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import ValidationError

from schemas.case_store import Positions
from schemas.errors import MalformedMessage
from schemas.events import BUNDLE_TYPE
from schemas.findings import Findings
from schemas.ports import Outgoing, Place, Record
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.provenance import Origin
from schemas.renderings.fhir.references import Site, bundle_id, issued
from streams.emission import FHIR_JSON, TRACEPARENT, emit_value
from streams.topics import FINDINGS


async def report(record: Record, *, site: Site, positions: Positions | None = None) -> Sequence[Outgoing]:
    """Nothing of what receivers are not told (the bulk lane). A state keeps the origin with which it was told first: a HIS that
    repeats its messages makes no second Provenance (`positions` None: nothing is kept). Raises MalformedMessage when the value is
    no Findings; StoreUnavailable."""
    try:
        findings = Findings.model_validate_json(record.value)
    except ValidationError:  # its text quotes the input
        raise MalformedMessage("report", str(record.place), "the value is not Findings as JSON") from None
    if not findings.subject.outward:
        return []
    return [
        emit_value(
            FINDINGS,
            findings.subject.study_instance_uid,
            bundle_of(findings, site, await _first(findings, _origin(record), positions)),
            id=bundle_id(findings),
            type=BUNDLE_TYPE,
            time=issued(findings.subject),
            cause=record,
            content_type=FHIR_JSON,
        )
    ]


def _origin(record: Record) -> Origin:
    """The record that was answered, and not this one: the same answer written again must not become another Provenance."""
    trace = TRACEPARENT.match(record.header("traceparent") or "")
    cause = Place.parse(record.header("cause") or "")
    return Origin(trace_id=trace["trace"] if trace else None, records=(str(cause),) if cause else ())


async def _first(findings: Findings, origin: Origin, positions: Positions | None) -> Origin:
    if positions is None:
        return origin
    source = f"origin {bundle_id(findings)}"
    kept = await positions.position(source)
    if kept is None:
        await positions.put_position(source, json.dumps([origin.trace_id, *origin.records]))
        return origin
    trace_id, *records = json.loads(kept)
    return Origin(trace_id, tuple(records))

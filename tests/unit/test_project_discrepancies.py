"""The timeline of an answer that came after verification: what stands in it, and what a person wrote does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid5

import pytest

from connectors.case_store import SqlCaseStore
from schemas.discrepancies import (
    DiscrepancyAcknowledged,
    DiscrepancyEscalated,
    DiscrepancyEvent,
    DiscrepancyOpened,
    DiscrepancyWithdrawn,
)
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS
from schemas.identifiers import NAMESPACE
from streams.emission import emit
from streams.steps.project import project
from streams.topics import DISCREPANCIES
from streams.verification import after_verification
from tests.contract.example_findings import DEVICES, STUDY, two_findings
from tests.unit.answers import record, result
from tests.unit.cases import minutes


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlCaseStore]:
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    yield store
    await store.close()


def event(kind: type[DiscrepancyEvent], service: str = CHEST_RADIOGRAPH_FINDINGS, **more: object) -> DiscrepancyEvent:
    return kind.model_validate(
        {
            "id": uuid5(NAMESPACE, kind.TYPE + service),
            "time": minutes(1),
            "discrepancy_id": uuid5(NAMESPACE, "d"),
            "study_instance_uid": STUDY,
            "accession_number": {"value": "A1", "assigner": "RIS"},
            "service": service,
            "analysis_id": uuid5(NAMESPACE, "a"),
        }
        | more
    )


async def test_a_discrepancy(store: SqlCaseStore) -> None:
    events = [
        event(DiscrepancyOpened, sequence=5, verified_at=minutes(0)),
        event(DiscrepancyEscalated),
        event(DiscrepancyAcknowledged, acknowledged_by="Dr DOE", reason="JANE was called"),
        event(DiscrepancyWithdrawn, DEVICES),
    ]
    marked = after_verification(two_findings(), minutes(0))
    await project(record(result(marked), 1), cases=store)
    for offset, one in enumerate(events):
        await project(record(emit(DISCREPANCIES, STUDY, one, None), offset, at=offset + 1), cases=store)
    assert [entry.what for entry in await store.timeline("A1")] == [
        "result, state 2, 2 findings, after verification",
        "discrepancy opened, state 5",
        "discrepancy escalated, nobody acknowledged it in time",
        "discrepancy acknowledged by a person",
        f"discrepancy of {DEVICES} withdrawn",
    ]

"""Any order of states, with any errors, crashes and arrivals, ends in the last state."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.case_store import SqlCaseStore
from schemas.errors import ItemNotServed, RadstreamError, ReceiverUnavailable, ResourceRefused
from streams.steps.inform import inform
from streams.steps.project import project
from tests.contract.example_findings import findings, subject
from tests.unit.informing import RIS, Documents, record_of, withdrawn


class Killed(Exception):
    """The worker."""


ERRORS = (
    None,
    ReceiverUnavailable("fake", "receiver", "away"),
    ItemNotServed("fake", "study", "HTTP 500"),
    ResourceRefused("fake", "study", "HTTP 422"),
    Killed(),
)
#: an error, and whether what was told arrived all the same
FAULTS = st.tuples(st.sampled_from(ERRORS), st.booleans())


@settings(max_examples=60, deadline=None)
@given(
    withdraws=st.lists(st.booleans(), min_size=1, max_size=5),
    order=st.lists(st.integers(0, 4), max_size=10),
    faults=st.lists(FAULTS, max_size=12),
    seen=st.integers(0, 5),
)
async def test_any_order_with_any_faults_ends_in_the_last_state(
    withdraws: list[bool], order: list[int], faults: list[tuple[Exception | None, bool]], seen: int
) -> None:
    """The last state is live once it was answered; and nothing once it was withdrawn, whatever arrived without an answer before."""
    states = [withdrawn(4 * n) if gone else findings(subject(4 * n)) for n, gone in enumerate(withdraws, start=1)]
    records = [record_of(state, offset) for offset, state in enumerate(states)]
    receiver = Documents()
    receiver.faults = [(error, arrives or error is None) for error, arrives in faults]
    with tempfile.TemporaryDirectory() as folder:
        cases = SqlCaseStore(f"sqlite:///{Path(folder) / 'cases.db'}")
        for record in records[:seen]:
            await project(record, cases=cases)
        for which in (*order, *range(len(records))):
            with contextlib.suppress(RadstreamError, Killed):
                await inform(records[which % len(records)], destination=RIS, tell=receiver.tell, tellings=cases)
        receiver.faults = []
        await inform(records[-1], destination=RIS, tell=receiver.tell, tellings=cases)
        assert withdraws[-1] or 4 * len(states) in receiver.live
        # of what would not be told of it nothing is forgotten
        await inform(record_of(withdrawn(40)), destination=RIS, tell=receiver.tell, tellings=cases)
        await cases.close()
    assert receiver.live == set()

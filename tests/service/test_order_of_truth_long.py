"""The property of tests/unit/test_correlate_order_of_truth.py, tried for longer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.cases import CaseEvent
from tests.unit.test_correlate_order_of_truth import SEQUENCES, end_is_the_same

#: 2,000 took 10 minutes of one core, and a quarter of an hour beside other work
EXAMPLES = 1000


@pytest.mark.long
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(events=SEQUENCES, data=st.data())
def test_the_end_is_that_of_the_unshuffled_sequence(events: tuple[CaseEvent, ...], data: st.DataObject) -> None:
    end_is_the_same(events, data)

"""A case store in a file of the test's own, and what stands on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connectors.case_store import SqlCaseStore
from streams.case_state import Policy
from tests.unit.cases import Hospital
from tests.unit.counting import Counting


@pytest.fixture
async def cases(tmp_path: Path) -> AsyncIterator[SqlCaseStore]:
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    yield store
    await store.close()


@pytest.fixture
def policy() -> Policy:
    """The site's; a file that tries another one overrides it."""
    return Policy()


@pytest.fixture
def hospital(cases: SqlCaseStore, policy: Policy) -> Hospital:
    return Hospital(cases, policy)


@pytest.fixture
def counting(cases: SqlCaseStore) -> Counting:
    return Counting(cases)

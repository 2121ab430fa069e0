"""What every case store must do. A test class inherits `CaseStoreContract` and gives `url`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid5

import pytest

from connectors.case_store import SqlCaseStore
from schemas.case_store import CaseStore, Delivery, TimelineEntry
from schemas.identifiers import NAMESPACE
from schemas.ports import Place
from tests.contract.correlation import STUDY, CorrelationContract
from tests.contract.due_items import NOON, DueContract
from tests.contract.tellings import TellingsContract
from tests.contract.traces import TracesContract
from tests.contract.transactions import TransactionContract


def an_entry(offset: int, *, study: str | None = None, accession: str | None = None, minutes: int = 0) -> TimelineEntry:
    return TimelineEntry(NOON + timedelta(minutes=minutes), Place("t", 0, offset), "type", f"line {offset}", study, accession)


class CaseStoreContract(CorrelationContract, TransactionContract, DueContract, TellingsContract, TracesContract):
    """Runs on a real database; `store` and `other` are two programs that share it."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[CaseStore]:
        store = SqlCaseStore(url)
        yield store
        await store.close()

    @pytest.fixture
    async def other(self, url: str) -> AsyncIterator[CaseStore]:
        store = SqlCaseStore(url)
        yield store
        await store.close()

    async def test_a_delivery_keeps_the_higher_sequence(self, store: CaseStore) -> None:
        def at(sequence: int, said: str) -> Delivery:
            return Delivery("fhir", STUDY, uuid5(NAMESPACE, said), sequence, said)

        assert await store.delivered("fhir", STUDY) is None
        for delivery in (at(2, "two"), at(1, "one"), at(2, "two again")):
            await store.put_delivery(delivery)
            assert await store.delivered("fhir", STUDY) == at(2, "two")
        await store.put_delivery(at(3, "three"))
        assert await store.delivered("fhir", STUDY) == at(3, "three")
        assert await store.delivered("other", STUDY) is None

    async def test_what_an_analysis_said_first_stays(self, store: CaseStore, other: CaseStore) -> None:
        analysis = uuid5(NAMESPACE, "analysis")
        assert await store.analysis(analysis) is None
        assert await store.put_analysis(analysis, b"the first model") == b"the first model"
        assert await other.put_analysis(analysis, b"the second model") == b"the first model"
        assert await other.analysis(analysis) == b"the first model"

    async def test_positions(self, store: CaseStore, other: CaseStore) -> None:
        assert await store.position("orthanc") is None
        await store.put_position("orthanc", "7")
        await store.put_position("orthanc", "8")
        await store.put_position("webhook", "1")
        assert await other.position("orthanc") == "8"
        for _ in range(2):
            await other.remove_position("orthanc")
            assert await store.position("orthanc") is None
        assert await store.position("webhook") == "1"

    async def test_timeline_of_a_case_and_of_the_studies_that_carry_it(self, store: CaseStore) -> None:
        order = an_entry(1, accession="A1^RIS", minutes=1)
        study = an_entry(2, accession="A1^RIS", study="1.2.3", minutes=2)
        delivery = an_entry(3, study="1.2.3", minutes=3)
        first = an_entry(4, accession="A1^RIS", minutes=0)
        strangers = [an_entry(5, accession="A10^RIS"), an_entry(6, study="1.2.4"), an_entry(7)]
        for entry in (delivery, study, *strangers, order, first, order):
            await store.put_timeline(entry)
        expected = [first, order, study, delivery]
        assert await store.timeline("A1^RIS") == expected
        assert await store.timeline("A1") == expected
        assert await store.timeline("A2") == []

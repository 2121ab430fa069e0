from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import pytest

from connectors.case_store import SqlCaseStore
from schemas.errors import MalformedMessage
from schemas.events import BUNDLE_TYPE
from schemas.ports import Place, Record
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.provenance import Origin
from schemas.renderings.fhir.reading import findings_of, origin_of
from streams.steps.report import report
from tests.contract.example_findings import SITE, STUDY, every_state, subject, two_findings
from tests.contract.fake_report_store import FakeReportStore

TRACE = "0af7651916cd43dd8448eb211c80319c"


def result(value: bytes, offset: int = 5, headers: Mapping[str, str] = MappingProxyType({})) -> Record:
    told = tuple((name, text.encode()) for name, text in headers.items())
    return Record(Place("ai.results", 1, offset), STUDY.encode(), value, told, datetime(2026, 11, 24, 9, tzinfo=UTC))


@pytest.mark.parametrize("name", every_state())
async def test_findings_become_a_bundle(name: str) -> None:
    of = every_state()[name]
    (out,) = await report(result(of.model_dump_json().encode()), site=SITE)
    assert (out.topic, out.key) == ("ai.findings", STUDY.encode())
    assert out.value == bundle_of(of, SITE)
    headers = dict(out.headers)
    assert headers["ce_type"] == BUNDLE_TYPE.encode()
    assert headers["content-type"] == b"application/fhir+json"
    assert headers["ce_time"] == b"2026-11-24T08:31:00.123456Z"  # of the record that triggered it all
    assert headers["cause"] == b"ai.results/1/5"


async def test_the_same_record_gives_the_same_record_and_another_state_another_id() -> None:
    of = two_findings()
    first, again = [await report(result(of.model_dump_json().encode()), site=SITE) for _ in range(2)]
    assert first == again
    later = of.model_copy(update={"subject": subject(2)})  # the same analysis, told again
    (other,) = await report(result(later.model_dump_json().encode()), site=SITE)
    assert dict(other.headers)["ce_id"] != dict(first[0].headers)["ce_id"]


async def test_the_provenance_names_trace_and_cause_and_an_answer_written_again_is_the_same() -> None:
    value = two_findings().model_dump_json().encode()
    told = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "cause": "ai.requests/0/17"}
    first, again = [(await report(result(value, offset, told), site=SITE))[0] for offset in (5, 9)]
    assert first.value == again.value
    assert origin_of(first.value) == Origin(TRACE, ("ai.requests/0/17",))
    assert findings_of(first.value) == two_findings()


async def test_a_state_that_is_told_again_because_a_message_was_repeated_is_the_same_to_the_receiver(
    cases: SqlCaseStore, tmp_path: Path
) -> None:
    """A HIS repeats its status messages: the request is asked again, from another record in another trace."""
    value, store = two_findings().model_dump_json().encode(), FakeReportStore()
    first = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "cause": "ai.requests/0/17"}
    again = {"traceparent": f"00-{TRACE[::-1]}-00f067aa0ba902b7-01", "cause": "ai.requests/0/99"}
    (one,) = await report(result(value, 5, first), site=SITE, positions=cases)
    restarted = SqlCaseStore(f"sqlite:///{tmp_path}/cases.db")
    (other,) = await report(result(value, 9, again), site=SITE, positions=restarted)
    await restarted.close()
    assert one.value == other.value
    assert origin_of(other.value) == Origin(TRACE, ("ai.requests/0/17",))
    assert findings_of(other.value) == two_findings()
    for out in (one, other):
        await store.put(out.value)
    assert set(store.versions.values()) == {1}


async def test_another_state_of_the_same_analysis_has_an_origin_of_its_own(cases: SqlCaseStore) -> None:
    of = two_findings()
    later = of.model_copy(update={"subject": subject(2)})
    found = []
    for state, place in ((of, "ai.requests/0/17"), (later, "ai.requests/0/99"), (of, "ai.requests/0/101")):
        told = result(state.model_dump_json().encode(), headers={"cause": place})
        found += [origin_of(out.value).records for out in await report(told, site=SITE, positions=cases)]
    assert found == [("ai.requests/0/17",), ("ai.requests/0/99",), ("ai.requests/0/17",)]


@pytest.mark.parametrize(
    "told", [{}, {"traceparent": "00-MRN", "cause": "MRN 4711"}, {"traceparent": f"{TRACE}", "cause": "a/b/1"}]
)
async def test_headers_that_are_none_of_ours_are_not_repeated(told: dict[str, str]) -> None:
    (out,) = await report(result(two_findings().model_dump_json().encode(), headers=told), site=SITE)
    assert origin_of(out.value) == Origin()


@pytest.mark.parametrize("name", every_state())
async def test_of_what_is_not_told_outward_there_is_no_bundle(name: str) -> None:
    of = every_state()[name]
    inward = of.model_copy(update={"subject": of.subject.model_copy(update={"outward": False})})
    assert await report(result(inward.model_dump_json().encode()), site=SITE) == []


@pytest.mark.parametrize("value", [b"", b"{", b"{}", b"null", b"\xff\xfe", b'{"analysis_id": "MRN-4711"}'])
async def test_what_is_no_findings_is_malformed(value: bytes) -> None:
    with pytest.raises(MalformedMessage) as raised:
        await report(result(value), site=SITE)
    assert str(raised.value) == "report: ai.results/1/5: the value is not Findings as JSON"

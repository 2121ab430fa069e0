from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schemas.errors import MalformedMessage
from schemas.events import BUNDLE_TYPE
from schemas.ports import Place, Record
from schemas.renderings.fhir.bundle import bundle_of
from streams.steps.report import report
from tests.contract.example_findings import SITE, STUDY, every_state, subject, two_findings


def result(value: bytes, offset: int = 5) -> Record:
    return Record(Place("ai.results", 1, offset), STUDY.encode(), value, (), datetime(2026, 11, 24, 9, tzinfo=UTC))


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

"""What a version of a model has said and still stands."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, NotAnalysedReason
from schemas.ports import Place, Record
from streams import topics
from streams.promotion.standing import Standing
from tests.contract.example_findings import after_verification, devices_alone, not_analysed, subject
from tests.unit.answers import result
from tests.unit.packages import NOW
from tests.unit.recalled_model import NAME, OTHER, recalled, said, uid


def fold(*values: Findings) -> Standing:
    standing = Standing(NAME, "1")
    for offset, value in enumerate(values):
        out = result(value)
        standing.see(Record(Place(out.topic, 0, offset), out.key, out.value, out.headers, NOW))
    return standing


def stand(standing: Standing) -> set[tuple[str, str]]:
    return set(standing.answers)


CHEST = CHEST_RADIOGRAPH_FINDINGS


def test_the_latest_state_of_each_study_and_service_counts() -> None:
    devices = devices_alone(subject(4, study=uid(1)))
    assert stand(fold(said(1), said(2, model=OTHER))) == {(uid(1), CHEST)}
    assert stand(fold(said(1), devices)) == {(uid(1), CHEST), (uid(1), devices.service)}, "both are of this version"
    assert stand(fold(said(1), said(1, 8, model=OTHER))) == set()
    assert stand(fold(said(1), recalled(1))) == set()
    assert stand(fold(said(1), after_verification(said(1, 5)))) == {(uid(1), CHEST)}
    assert stand(fold(said(1), not_analysed(NotAnalysedReason.LATE, subject(7, study=uid(1))))) == set(), "late of a later request"
    standing = fold(not_analysed(NotAnalysedReason.WRONG_VIEW, subject(4, study=uid(1))), said(2, model=OTHER))
    assert (stand(standing), standing.spoke) == (set(), False)


@given(st.permutations([said(1), recalled(1), said(1, 8), said(2), said(2, 8, model=OTHER), said(3), said(4, 3), said(4, 3)]))
def test_in_whatever_order_they_come(values: list[Findings]) -> None:
    assert stand(fold(*values, *values)) == {(uid(1), CHEST), (uid(3), CHEST), (uid(4), CHEST)}


def test_what_is_no_findings_is_passed_over() -> None:
    standing = fold(said(1))
    assert standing.see(Record(Place(topics.RESULTS.name, 0, 1), b"", b'{"secret": 1}', (), NOW))
    assert not standing.see(Record(Place(topics.RESULTS.name, 0, 1), b"", b"", (), NOW)), "seen before"
    assert len(standing.answers) == 1

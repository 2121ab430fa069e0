"""Rule 8: whatever order, cancellation, correction, replacement, merge, unlink and study say, and in whatever order and however
often it comes, the end is what the unshuffled sequence gives: each sender orders its own words, and nothing here is decided by
arrival (orders are one sender's, patients another's, studies those of one archive)."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.case_store import SqlCaseStore
from schemas.events import OrderStatus
from schemas.findings import Findings, NotAnalysedReason, OrderReference
from schemas.identifiers import PlacerOrderNumber
from schemas.study_events import AnalysisRequested
from streams.sequences import LATE
from tests.unit.cases import CaseEvent, Hospital, follows, merge, numbers, order, person, reason, said, study, unlink, update

A, B, C, N = PEOPLE = (person("A"), person("B"), person("C"), person("N", "NATION"))
UIDS = ("1.2.3", "1.2.4")

_some_people = st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=2, unique=True)
_placers = st.sampled_from(("P1", "P2"))
_accessions = st.sampled_from(("A1", "A2"))
_states = st.sampled_from([OrderStatus.PLACED] * 3 + [OrderStatus.CANCELLED, OrderStatus.IN_PROGRESS])


def _replacing(placer: str) -> tuple[OrderReference, ...]:
    return (OrderReference(placer_order_number=PlacerOrderNumber(value=placer, assigner="HIS")),)


def _study(at: int, uid: st.SearchStrategy[str], accession: st.SearchStrategy[str]) -> st.SearchStrategy[CaseEvent]:
    return st.builds(
        lambda uid, accession, patient, images: study(uid, accession=accession, patient=patient, images=images, at=at),
        uid,
        accession,
        st.none() | st.sampled_from((A, B)),
        st.integers(0, 2),
    )


def _order_word(at: int) -> st.SearchStrategy[CaseEvent]:
    return st.builds(
        lambda placer, filler, accession, patients, status, changed: order(
            placer=placer, filler=filler, accession=accession, patients=tuple(patients), status=status, changed=changed, at=at
        ),
        _placers,
        st.sampled_from((None, None, "F1", "F2")),
        st.none() | _accessions,
        _some_people,
        _states,
        st.booleans(),
    ) | st.builds(lambda new, old: order(placer=new, replaces=_replacing(old), at=at), st.sampled_from(("P3", "P4")), _placers)


def _patient_word(at: int) -> st.SearchStrategy[CaseEvent]:
    return st.one_of(
        st.builds(lambda patients: update(*patients, at=at, sender="ADT"), _some_people),
        st.builds(lambda prior, into: merge(*prior, into=into, at=at, sender="ADT"), _some_people, _some_people),
        st.builds(lambda one, other: unlink(one, other, at=at, sender="ADT"), _some_people, _some_people),
    )


def _ordered(at: int, number: int) -> st.SearchStrategy[CaseEvent]:
    return st.builds(
        lambda patients: order(placer=f"P{number}", accession=f"A{number}", patients=tuple(patients), at=at), _some_people
    )


#: two orders and two studies, and what is said of them before and after; each word at a time of its own
SEQUENCES = st.tuples(
    *(_patient_word(at) for at in (0, 1)),
    *(_ordered(at, number) for at, number in ((2, 1), (3, 2))),
    *(_study(at, st.just(uid), _accessions) for at, uid in zip((4, 5), UIDS, strict=True)),
    *(_order_word(at) | _patient_word(at) for at in (6, 7, 8)),
    _study(9, st.sampled_from(UIDS), _accessions),
)


def state(value: AnalysisRequested | Findings) -> tuple[object, ...]:
    return reason(value), value.subject.patient, numbers(value), value.subject.revision, value.subject.accession_number


async def final(events: Sequence[CaseEvent], wait_over_after: int) -> dict[str, tuple[object, ...]]:
    """What is told of each study in the end; checks on the way what must hold at every moment."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqlCaseStore(f"sqlite:///{Path(folder) / 'cases.db'}")
        hospital = Hospital(store)
        last: dict[str, AnalysisRequested | Findings] = {}
        by_id: dict[bytes, bytes] = {}
        for number, event in enumerate([*events, None]):
            outputs = [] if event is None else await hospital.happens(event)
            if event is None or number == wait_over_after:
                outputs += await hospital.time_passes(1000)
            for out in outputs:
                value = said(out)
                before = last.get(value.subject.study_instance_uid)
                assert by_id.setdefault(dict(out.headers)["ce_id"], out.value) == out.value
                if reason(value) is NotAnalysedReason.LATE:  # of what was corrected: before its answer, which is the state
                    assert before is not None and value.subject.sequence == before.subject.sequence + LATE
                    continue
                # a repeat says the current state, to the byte, or what comes next
                assert value == before or follows(value, before)
                last[value.subject.study_instance_uid] = value
        for event in events:  # all is told: nothing is found that was overlooked
            for value in await hospital.answers(event):
                assert value == last[value.subject.study_instance_uid]
        await store.close()
        return {uid: state(value) for uid, value in last.items()}


def end_is_the_same(events: tuple[CaseEvent, ...], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(events))
    repeated = data.draw(st.lists(st.sampled_from(events), max_size=3))
    unshuffled = asyncio.run(final(events, len(events)))
    assert set(unshuffled) == set(UIDS)
    assert asyncio.run(final([*repeated, *shuffled], data.draw(st.integers(0, len(events))))) == unshuffled


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(events=SEQUENCES, data=st.data())
def test_the_end_is_that_of_the_unshuffled_sequence(events: tuple[CaseEvent, ...], data: st.DataObject) -> None:
    end_is_the_same(events, data)

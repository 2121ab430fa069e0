"""What a candidate said beside the model in use, against numbers worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

import pytest

from schemas.findings import NotAnalysedReason
from schemas.ports import Place, Record
from streams.shadows.agreement import Agreement, Spread, Table
from streams.shadows.compared import FindingsCompared, ModelsCompared, OutputCompared
from streams.shadows.comparing import Comparing, Comparison, Latency
from streams.shadows.comparing_text import lines, plain
from tests.unit.sandbox_records import CANDIDATE, IN_USE, MASS, NOON, findings, output, request, result

HERE, BESIDE, FAR = (10.0, 10.0, 20.0, 20.0), (12.0, 10.0, 20.0, 20.0), (70.0, 70.0, 5.0, 5.0)


def compared(candidate: Sequence[Record], in_use: Sequence[Record], requests: Sequence[Record] = (), **more: object) -> Comparison:
    comparing = Comparing("next", **more)  # type: ignore[arg-type]
    for record in candidate:
        comparing.candidate(record)
    for record in in_use:
        comparing.in_use(record)
    for record in requests:
        comparing.request(record)
    return comparing.comparison()


def only(comparison: Comparison) -> ModelsCompared:
    (models,) = comparison.models
    return models


def test_presence_findings_and_scores_of_five_studies() -> None:
    comparison = compared(
        [
            result(findings(1, CANDIDATE, [BESIDE], probability=0.9)),  # the same finding
            result(findings(2, CANDIDATE, [], probability=0.3)),  # lost
            result(findings(3, CANDIDATE, [HERE, FAR], probability=0.8)),  # new, two
            result(findings(4, CANDIDATE, [], probability=0.1)),
            result(findings(5, CANDIDATE, [HERE, FAR], probability=0.7, kind=MASS)),  # one of another kind, one new
        ],
        [
            result(findings(1, IN_USE, [HERE], probability=0.7)),
            result(findings(2, IN_USE, [FAR], probability=0.6)),
            result(findings(3, IN_USE, [], probability=0.4)),
            result(findings(4, IN_USE, [], probability=0.1)),
            result(findings(5, IN_USE, [HERE], probability=0.7)),
        ],
    )
    models = only(comparison)
    assert (comparison.both, comparison.in_use_only, comparison.candidate_only) == (5, 0, 0)
    assert (models.in_use, models.candidate, models.states, models.studies) == ("chest/1", "chest/2", 5, 5)
    assert models.presence
    assert models.presence.table == Table(both=2, in_use_only=1, candidate_only=1, neither=1)
    assert models.presence.kappa == pytest.approx((0.6 - 0.52) / (1 - 0.52))  # by chance 0.6 x 0.6 + 0.4 x 0.4
    assert models.findings == FindingsCompared(matched=2, renamed=1, in_use_only=1, candidate_only=3, changed=3)
    assert models.shift is not None
    assert models.shift.number == 5
    assert models.shift.mean == pytest.approx((0.2 - 0.3 + 0.4 + 0 + 0) / 5)
    assert models.shift.median == pytest.approx(0.0)
    assert models.in_use_scores == (0, 1, 0, 0, 1, 0, 1, 2, 0, 0)
    assert models.candidate_scores == (0, 1, 0, 1, 0, 0, 0, 1, 1, 1)
    assert comparison.changed == ("1.2.2", "1.2.3", "1.2.5")


def test_joined_by_study_revision_state_and_service() -> None:
    comparison = compared(
        [result(findings(1, CANDIDATE, sequence=2)), result(findings(1, CANDIDATE, sequence=4)), result(findings(2, CANDIDATE))],
        [
            result(findings(1, IN_USE, sequence=2)),
            result(findings(1, IN_USE, sequence=3)),
            result(findings(2, IN_USE, revision="b" * 64)),
            result(findings(2, IN_USE, service="tubes")),  # another report of the same state is no answer of this one
        ],
    )
    assert (comparison.both, comparison.in_use_only, comparison.candidate_only) == (1, 2, 2)


def test_what_no_model_was_asked_is_passed_over() -> None:
    told = findings(2, IN_USE, reason=NotAnalysedReason.ORDER_CANCELLED)
    late = findings(3, IN_USE, reason=NotAnalysedReason.LATE)
    comparison = compared(
        [result(findings(1, CANDIDATE))],
        [result(told, cause="imaging.orders/0/7"), result(late, cause=""), result(findings(1, IN_USE))],
    )
    assert (comparison.both, comparison.in_use_only, comparison.not_analysed) == (1, 0, ())


def test_before_the_first_that_the_candidate_saw_nothing_is_missed() -> None:
    earlier, later = NOON - timedelta(seconds=1), NOON + timedelta(seconds=1)
    comparison = compared(
        [result(findings(1, CANDIDATE))],
        [
            result(findings(7, IN_USE, triggered_at=earlier)),
            result(findings(1, IN_USE)),
            result(findings(8, IN_USE, triggered_at=later)),
        ],
    )
    assert (comparison.both, comparison.in_use_only, comparison.since) == (1, 1, NOON)


def test_since() -> None:
    later = NOON + timedelta(hours=1)
    said = [findings(number, CANDIDATE, triggered_at=NOON + timedelta(hours=number)) for number in (0, 1, 2)]
    real = [findings(number, IN_USE, triggered_at=NOON + timedelta(hours=number)) for number in (0, 1)]
    comparison = compared([*map(result, said)], [*map(result, real)], since=later)
    assert (comparison.both, comparison.in_use_only, comparison.candidate_only, comparison.since) == (1, 0, 1, later)


def test_the_last_of_each_counts_once_and_was_answered_when_it_was_first() -> None:
    comparison = compared(
        [
            result(findings(1, CANDIDATE, probability=0.2), after_s=3),
            result(findings(1, CANDIDATE, [HERE], probability=0.8), after_s=60),
        ],
        [result(findings(1, IN_USE, probability=0.4), after_s=2), result(findings(1, IN_USE, probability=0.4), after_s=90)],
        [request(1)],
    )
    models = only(comparison)
    assert models.states == 1
    assert models.presence == Agreement(Table(candidate_only=1), 0.0, None)
    assert models.shift is not None
    assert models.shift.mean == pytest.approx(0.4)
    assert (comparison.in_use_latency, comparison.candidate_latency) == (Latency(1, 2.0, 2.0), Latency(1, 3.0, 3.0))


def test_latency_from_each_ones_request() -> None:
    """21 requests: in use answers the n-th after n seconds; the candidate after 2 n. One request is not on the log any more."""
    numbers = range(21)
    comparison = compared(
        [result(findings(n + 1, CANDIDATE), after_s=100 + 2 * n) for n in numbers],
        [result(findings(n + 1, IN_USE), cause=f"ai.requests.stat/0/{n + 1}", after_s=100 + n) for n in numbers],
        [request(n + 1, 100) for n in numbers] + [request(n + 1, 100, "ai.requests.stat") for n in range(20)] + [request(99)],
    )
    assert comparison.in_use_latency is not None
    assert (comparison.in_use_latency.number, comparison.in_use_latency.p50) == (20, 9.5)
    assert comparison.in_use_latency.p95 == pytest.approx(18.05)
    assert comparison.candidate_latency == Latency(21, 20.0, 38.0)


def test_without_a_request_on_the_log_there_is_no_latency() -> None:
    comparison = compared([result(findings(1, CANDIDATE))], [result(findings(1, IN_USE))])
    assert (comparison.in_use_latency, comparison.candidate_latency) == (None, None)


def test_not_analysed_by_one_by_the_other_and_by_both() -> None:
    view, age = NotAnalysedReason.WRONG_VIEW, NotAnalysedReason.WRONG_AGE
    comparison = compared(
        [
            result(findings(1, CANDIDATE)),
            result(findings(2, CANDIDATE, reason=view)),
            *[result(findings(3, CANDIDATE, reason=age))] * 2,
        ],
        [result(findings(1, IN_USE, reason=age)), result(findings(2, IN_USE)), result(findings(3, IN_USE, reason=age))],
    )
    assert comparison.both == 3
    assert comparison.not_analysed == (("analysed", "wrong-view", 1), ("wrong-age", "analysed", 1), ("wrong-age", "wrong-age", 1))
    assert comparison.models == ()
    assert comparison.changed == ("1.2.1", "1.2.2")


def test_each_pair_of_versions_is_told_apart() -> None:
    later = CANDIDATE.model_copy(update={"version": "3"})
    comparison = compared(
        [result(findings(1, CANDIDATE)), result(findings(2, later)), result(findings(3, later))],
        [result(findings(n, IN_USE)) for n in (1, 2, 3)],
    )
    assert [(m.in_use, m.candidate, m.states) for m in comparison.models] == [("chest/1", "chest/2", 1), ("chest/1", "chest/3", 2)]


def test_named_outputs() -> None:
    """`tube` in three states of both, a measure without a threshold, and one that only the candidate gives."""
    mine = [(0.9, 1.0), (0.2, 2.0), (0.6, 3.0)]
    its = [(0.8, 1.5), (0.7, 2.5), (0.6, 3.5)]
    comparison = compared(
        [
            result(findings(n, CANDIDATE, outputs=[output("tube", p), output("size", s, None), output("drain", 0.1)]))
            for n, (p, s) in enumerate(its, 1)
        ],
        [result(findings(n, IN_USE, outputs=[output("tube", p), output("size", s, None)])) for n, (p, s) in enumerate(mine, 1)],
    )
    tube, size, drain = only(comparison).outputs
    assert tube.presence is not None
    assert (tube.name, tube.both, tube.presence.table) == ("tube", 3, Table(both=2, candidate_only=1))
    assert tube.presence.kappa == pytest.approx(0.0)  # observed 2/3; by chance 2/3 x 1 + 1/3 x 0
    assert tube.shift is not None
    assert tube.shift.mean == pytest.approx((-0.1 + 0.5 + 0.0) / 3)
    assert size == OutputCompared("size", 3, 0, 0, None, Spread(3, 0.5, 0.5, 0.5, 0.5))
    assert drain == OutputCompared("drain", 0, 0, 3, None, None)
    assert comparison.changed == ("1.2.2",)


def test_a_candidate_that_looks_for_nothing_with_a_place() -> None:
    comparison = compared(
        [result(findings(1, CANDIDATE, probability=None, outputs=[output("tube", 0.9)]))], [result(findings(1, IN_USE, [HERE]))]
    )
    models = only(comparison)
    assert (models.presence, models.findings, models.shift) == (None, None, None)
    assert comparison.changed == (), "it said nothing of nodules, neither yes nor no"


def test_an_empty_sandbox_and_a_record_that_is_none() -> None:
    broken = Record(Place("any", 0, 0), b"k", b"{", (("cause", b"ai.requests/0/1"),), NOON)
    comparison = compared([broken], [result(findings(1, IN_USE))])
    assert (comparison.both, comparison.in_use_only, comparison.unreadable, comparison.since) == (0, 0, 1, None)
    text = "\n".join(lines(comparison, studies=True))
    assert "empty" in text
    assert "1 records could not be read" in text


def test_the_words_name_no_study_unless_asked_to() -> None:
    comparison = compared(
        [result(findings(1, CANDIDATE, [HERE], probability=0.91, outputs=[output("tube", 0.9)]), after_s=4)],
        [result(findings(1, IN_USE, probability=0.42, outputs=[output("tube", 0.9)]), after_s=2)],
        [request(1)],
    )
    said = "\n".join(lines(comparison, studies=False))
    for part in (
        "in use chest/1, candidate chest/2: 1 states of 1 studies",
        "both 0, in use only 0, candidate only 1, neither 0; kappa 0.00",
        "of both 0, of the one in use only 0, of the candidate only 1; changed in 1 states",
        "mean +0.490, median +0.490, 5th to 95th percentile +0.490 to +0.490",
        "0.9-1.0          0                                         1  ##############################",
        "tube: given by both 1; present: both 1, in use only 0, candidate only 0, neither 0; kappa cannot be told; mean +0.000",
        "in use:    p50 2.00 s, p95 2.00 s (1 states)",
        "candidate: p50 4.00 s, p95 4.00 s (1 states)",
        "lower priority",
        "the two do not say the same: 1",
    ):
        assert part in said
    assert "1.2.1" not in said
    assert "  1.2.1" in list(lines(comparison, studies=True))


def test_json_is_the_whole_comparison() -> None:
    comparison = compared([result(findings(1, CANDIDATE, [HERE]))], [result(findings(1, IN_USE, [HERE]))], [request(1)])
    value = json.loads(json.dumps(plain(comparison)))
    assert value["models"][0]["presence"]["table"] == {"both": 1, "in_use_only": 0, "candidate_only": 0, "neither": 0}
    assert value["models"][0]["findings"]["matched"] == 1
    assert value["since"] == "2026-11-29T12:00:00+00:00"
    assert value["in_use_latency"] == {"number": 1, "p50": 1.0, "p95": 1.0}

"""Which identifiers belong to one person: the rule of order, and what an unlink leaves."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import PatientEvent
from schemas.identifiers import PatientIdentifier
from streams.persons import Persons
from tests.unit.cases import merge, person, unlink, update

A, B, C = person("A"), person("B"), person("C")
N, M = person("N", "NATION"), person("M", "NATION")
V = person("V", "INSURANCE")


def groups(events: Sequence[PatientEvent]) -> set[str]:
    """The persons with more than one identifier, each as its sorted letters."""
    persons = Persons(events)
    found = {"".join(sorted(one.value for one in persons.person(each))) for each in (A, B, C, N, M, V)}
    return {group for group in found if len(group) > 1}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], set()),
        ([update(A)], set()),
        ([update(A, N, V)], {"ANV"}),
        ([update(A, N), update(A, V, at=1)], {"ANV"}),
        ([update(A, N), update(A, at=1)], {"AN"}),
        ([merge(B, into=[A])], {"AB"}),
        ([merge(B, into=[A]), merge(C, into=[B], at=1)], {"ABC"}),
        ([merge(B, V, into=[A, N])], {"ABNV"}),
        # an unlink, and words before and after it
        ([merge(B, into=[A]), unlink([A], [B], at=1)], set()),
        ([unlink([A], [B]), merge(B, into=[A], at=1)], {"AB"}),
        ([merge(B, into=[A]), unlink([A], [B], at=1), update(A, B, at=2)], {"AB"}),
        ([unlink([A, N], [B, M])], {"AN", "BM"}),
        ([merge(B, into=[A, N]), unlink([A], [B], at=1)], {"AN"}),
        ([merge(B, into=[A]), merge(C, into=[B], at=1), unlink([A], [B], at=2)], {"BC"}),
        ([update(A, B, N), unlink([A], [B], at=1)], set()),
        ([update(A, V), update(B, V, at=1), unlink([A], [B], at=2)], {"BV"}),
        ([unlink([A, V], [B, V])], set()),
        ([merge(B, into=[A]), unlink([C], [V], at=1)], {"AB"}),
        # a number typed into the wrong record, and corrected
        ([update(A, N), update(B, N, at=1)], {"BN"}),
        ([update(A, N), update(A, M, at=1)], {"AM"}),
        ([update(A, N), update(A, M, at=1), update(A, N, at=2)], {"AN"}),
        ([update(A, N), update(A, B, N, at=1)], {"ABN"}),
        ([update(A, N), merge(B, N, into=[A], at=1)], {"ABN"}),
        ([update(C, N), merge(B, N, into=[A], at=1)], {"ABN"}),
        ([merge(N, into=[A]), update(B, N, at=1)], {"ABN"}),  # a merge is taken back by an unlink only
    ],
)
def test_in_any_order_of_arrival(said: list[PatientEvent], expected: set[str]) -> None:
    assert groups(said) == expected
    assert groups(said[::-1]) == expected
    assert groups([*said, *said]) == expected


def test_the_surviving_number() -> None:
    persons = Persons([merge(B, N, into=[M, A]), merge(A, into=[C], at=1)])
    assert [persons.survivor(one) for one in (A, B, C, N, M, V)] == [C, C, C, M, M, V]


def test_a_merge_the_other_way_round_counts_from_then_on() -> None:
    assert Persons([merge(B, into=[A])]).survivor(B) == A
    there_and_back = Persons([merge(B, into=[A]), merge(A, into=[B], at=1)])
    assert [there_and_back.survivor(one) for one in (A, B)] == [B, B]


def test_an_unlinked_number_survives_by_itself() -> None:
    persons = Persons([merge(B, into=[A]), unlink([A], [B], at=1)])
    assert persons.survivor(B) == B
    assert persons.are_apart([A, B])
    assert not persons.are_apart([A, C])


def test_across_senders_the_last_arrived_word_decides() -> None:
    his, ris = merge(B, into=[A], at=9), unlink([A], [B], at=1, sender="RIS")
    assert groups([his, ris]) == set()
    assert groups([ris, his]) == {"AB"}
    late = merge(B, into=[A], at=0)  # older than what its sender said since, so it stands before that
    since = update(A, V, at=9)
    assert groups([since, ris, late]) == {"AV"}


def test_equal_times_are_told_apart_by_msh_13_then_by_arrival() -> None:
    assert groups([update(A, N, msh13=8), update(A, M, msh13=7)]) == {"AN"}
    assert groups([update(A, N), update(A, M)]) == {"AM"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([A], [A], True),
        ([A], [B], False),
        ([A, B], [B], True),
        ([A], [N], True),
        ([B], [N], False),
        ([A, N], [B, N], True),  # what both hold themselves
        ([A, M], [A, N], True),
        ([B, N], [A], False),  # A is joined with N, but the numbers of the hospital say that these are two
        ([V], [V], True),
        ([A], [C], False),  # apart
        ([A, C], [A], False),  # names two whom an unlink keeps apart
    ],
)
def test_two_lists_that_name_one_person(one: list[PatientIdentifier], other: list[PatientIdentifier], same: bool) -> None:
    persons = Persons([update(A, N), unlink([A], [C])])
    assert persons.agree(one, other) is same
    assert persons.agree(other, one) is same


def test_words_that_others_join_are_in_order_too() -> None:
    """The unlink and the merge name nobody in common; what was said since joins those whom they name."""
    said = [merge(M, into=[A], at=5), unlink([N, V], [B], at=1), update(V, A, at=6), update(B, M, at=7)]
    late = [said[0], said[3], said[2], said[1]]
    everybody = (A, B, N, M, V)
    assert Persons(late).view(everybody) == Persons(said).view(everybody)


_people = st.lists(st.sampled_from((A, B, C, N, M, V)), min_size=1, max_size=3, unique=True)
_words = st.one_of(
    st.builds(lambda patients, at: update(*patients, at=at), _people, st.integers(0, 9)),
    st.builds(lambda prior, into, at: merge(*prior, into=into, at=at), _people, _people, st.integers(0, 9)),
    st.builds(lambda one, other, at: unlink(one, other, at=at), _people, _people, st.integers(0, 9)),
)


@settings(max_examples=150)
@given(said=st.lists(_words, max_size=8, unique_by=lambda event: event.sender.occurred_at), data=st.data())
def test_one_sender_in_any_order_of_arrival(said: list[PatientEvent], data: st.DataObject) -> None:
    everybody = (A, B, C, N, M, V)
    persons = Persons(said)
    shuffled = data.draw(st.permutations(said))
    assert Persons([*shuffled, *shuffled]).view(everybody) == persons.view(everybody)
    for one in everybody:
        assert persons.survivor(one) in persons.person(one)  # and following merges ends
        assert all(persons.person(other) == persons.person(one) for other in persons.person(one))
        assert not persons.are_apart(persons.person(one))

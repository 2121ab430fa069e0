"""Numbers of states: whatever is said of a state later stands after the one before it and before the next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.sequences import AFTER_VERIFICATION, LATE, RECALLED, next_after, published_after


def published(answer: int) -> list[int]:
    """All that replays may say of it, one after the other."""
    numbers: list[int] = []
    number = published_after(answer)
    while number is not None:
        numbers.append(number)
        number = published_after(number)
    return numbers


@given(st.integers(0, 2**31))
def test_late_comes_after_all_that_was_said_of_the_state_before(last: int) -> None:
    this = next_after(last)
    for said in (0, AFTER_VERIFICATION, RECALLED, *(number + RECALLED - last for number in published(last))):
        assert last + said < this + LATE or last == 0


@given(st.integers(1, 10**6))
def test_all_that_is_said_of_a_state_has_numbers_of_its_own_and_in_this_order(states: int) -> None:
    told, last = [0], 0
    for _ in range(min(states, 20)):
        last = next_after(last)
        told += [last + LATE, last, last + AFTER_VERIFICATION, last + RECALLED]
        for number in published(last):
            told += [number, number + AFTER_VERIFICATION, number + RECALLED]
    assert told == sorted(set(told))


def test_four_replays_may_speak_of_one_state() -> None:
    assert published(next_after(0)) == [19, 22, 25, 28]


@given(st.integers(0, 2**31))
def test_a_database_that_numbered_its_states_one_by_one_goes_on(last: int) -> None:
    assert next_after(last) % 16 == 0
    assert next_after(last) + LATE > last


@given(st.integers(1, 2**29))
def test_what_was_numbered_when_the_room_was_four_is_followed_too(states: int) -> None:
    last = 4 * states
    for number in published(last):
        assert last + RECALLED < number
        assert number + RECALLED < next_after(last) + LATE

"""One line when it begins and one when it ends, however many threads notice it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from connectors.spells import Spell


def test_it_begins_once_and_ends_once() -> None:
    spell = Spell()
    told = [spell.end(), spell.begin(), spell.begin(), spell.lasts, spell.end(), spell.end(), spell.lasts, spell.begin()]
    assert told == [False, True, False, True, True, False, False, True]


def test_one_thread_of_many_begins_it() -> None:
    spell = Spell()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: spell.begin(), range(1000))).count(True) == 1

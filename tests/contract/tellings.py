"""What every store of tellings must do: a part of CaseStoreContract."""

from __future__ import annotations

import asyncio
from uuid import UUID

from schemas.case_store import CaseStore
from schemas.identifiers import StudyInstanceUID
from schemas.tellings import Telling

STUDY = StudyInstanceUID("1.2.3")


class TellingsContract:
    async def test_what_is_told_is_kept_before_it_is_answered(self, store: CaseStore, other: CaseStore) -> None:
        assert await store.begin_telling("ris", STUDY, 4, b"four") == Telling(4, b"four")
        assert await other.begin_telling("ris", STUDY, 4, b"four") == Telling(4, b"four")
        await other.answer_telling("ris", STUDY, 4, "AA 4")
        assert await store.begin_telling("ris", STUDY, 4, b"four") == Telling(4, b"four", answered=True, acknowledgement="AA 4")
        assert await store.begin_telling("pacs", STUDY, 4, b"four") == Telling(4, b"four"), "another destination"
        assert await store.begin_telling("ris", StudyInstanceUID("1.2.4"), 4, b"four") == Telling(4, b"four"), "another study"

    async def test_nothing_that_may_have_arrived_is_forgotten(self, store: CaseStore) -> None:
        await store.begin_telling("ris", STUDY, 4, b"four")
        await store.answer_telling("ris", STUDY, 4, "AA 4")
        assert await store.begin_telling("ris", STUDY, 8, b"eight") == Telling(8, b"eight", held=b"four")
        twelve = Telling(12, "zwölf".encode(), held=b"four", unanswered=(b"eight",))
        assert await store.begin_telling("ris", STUDY, 12, "zwölf".encode()) == twelve
        sixteen = Telling(16, b"sixteen", held=b"four", unanswered=(b"eight", "zwölf".encode()))
        assert await store.begin_telling("ris", STUDY, 16, b"sixteen") == sixteen
        await store.answer_telling("ris", STUDY, 16, "AA 16")
        assert await store.begin_telling("ris", STUDY, 20, b"twenty") == Telling(20, b"twenty", held=b"sixteen")

    async def test_what_it_would_not_be_told_of_is_not_forgotten(self, store: CaseStore, other: CaseStore) -> None:
        await store.begin_telling("ris", STUDY, 4, b"four")
        await store.begin_telling("ris", STUDY, 8, b"eight")
        await store.answer_telling("ris", STUDY, 8, "AA 8", [b"four"])
        eight = Telling(8, b"eight", answered=True, acknowledgement="AA 8", unanswered=(b"four",))
        assert await other.begin_telling("ris", STUDY, 8, b"eight") == eight
        twelve = Telling(12, b"twelve", held=b"eight", unanswered=(b"four",))
        assert await other.begin_telling("ris", STUDY, 12, b"twelve") == twelve
        await store.answer_telling("ris", STUDY, 12, "AA 12")
        assert await store.begin_telling("ris", STUDY, 16, b"sixteen") == Telling(16, b"sixteen", held=b"twelve")

    async def test_what_is_told_after_a_later_one_is_kept_too(self, store: CaseStore, other: CaseStore) -> None:
        await store.begin_telling("ris", STUDY, 4, b"four")
        await store.answer_telling("ris", STUDY, 4, "AA 4")
        await store.begin_telling("ris", STUDY, 8, b"eight")
        both = Telling(8, b"eight", held=b"four", unanswered=(b"six",))
        for one in (store, other):
            assert await one.tell_earlier("ris", STUDY, b"six") == both
        assert await store.begin_telling("ris", STUDY, 8, b"eight") == both
        await store.answer_telling("ris", STUDY, 8, "AA 8")
        answered = Telling(8, b"eight", answered=True, acknowledgement="AA 8")
        assert await store.tell_earlier("ris", STUDY, b"six") == answered

    async def test_who_was_warned_of_which_discrepancy_is_kept(self, store: CaseStore, other: CaseStore) -> None:
        one, another = UUID(int=1), UUID(int=2)
        for of in (store, other):
            await of.put_warned("portal", one)
        assert await other.warned("portal", one)
        assert not await store.warned("portal", another)
        assert not await store.warned("pager", one)

    async def test_a_lower_state_replaces_nothing(self, store: CaseStore) -> None:
        await store.begin_telling("ris", STUDY, 8, b"eight")
        assert await store.begin_telling("ris", STUDY, 4, b"four") == Telling(8, b"eight")
        await store.answer_telling("ris", STUDY, 4, "AA 4")
        assert await store.begin_telling("ris", STUDY, 8, b"eight") == Telling(8, b"eight"), "an answer to another state"

    async def test_of_several_at_once_the_highest_is_kept(self, store: CaseStore, other: CaseStore) -> None:
        for round in range(10):
            study = StudyInstanceUID(f"1.2.{round + 1}")
            begun = [
                one.begin_telling("ris", study, 4 * number, b"%d" % number) for number in (2, 5, 1, 4, 3) for one in (store, other)
            ]
            kept = await asyncio.gather(*begun)
            assert max(one.sequence for one in kept) == 20
            last = await store.begin_telling("ris", study, 1, b"")
            assert (last.sequence, last.findings, last.answered) == (20, b"5", False)
            assert len(set(last.unanswered)) == len(last.unanswered), "each state once"

    async def test_the_latest_state_is_the_highest(self, store: CaseStore, other: CaseStore) -> None:
        assert await store.latest_state("ai.results", STUDY, "nodules") == 0
        for sequence in (8, 4, 9, 8):
            await store.put_latest_state("ai.results", STUDY, "nodules", sequence)
        assert await other.latest_state("ai.results", STUDY, "nodules") == 9
        assert await other.latest_state("ai.results", STUDY, "devices") == 0
        assert await other.latest_state("ai.findings", STUDY, "nodules") == 0
        assert await other.latest_state("ai.results", StudyInstanceUID("1.2.4"), "nodules") == 0

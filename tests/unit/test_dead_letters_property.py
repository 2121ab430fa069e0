"""Whatever several people do about dead letters, and wherever they are cut off: `list` is right, no original follows its correction
unless somebody says so, and every letter can be brought to an end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.errors import BrokerUnavailable, SettingsInvalid
from schemas.hl7v2.admission import Admission
from schemas.hl7v2.site import Site
from schemas.ports import Record
from streams import topics
from streams.audit.acts import Actor
from streams.dead_letters.choosing import Filter, chosen, corrected_meanwhile
from streams.dead_letters.discarding import discard, discardable
from streams.dead_letters.letters import RESENT_FROM, Letter
from streams.dead_letters.planning import Plan
from streams.dead_letters.resending import carry_out, correction_of, planned, send_one
from streams.dead_letters.sending import Pace
from streams.dead_letters.standing import read_letters
from streams.existing import Existing
from tests.contract.fake_history import FakeHistory
from tests.unit.dead_letter_topics import CLOCK, MESSAGE, failed, original
from tests.unit.dying_log import DyingLog

#: the second came twice
CAME = [MESSAGE, *[MESSAGE.replace(b"|1|P|", b"|2|P|")] * 2]
MENDED = [MESSAGE.replace(b"\xff4711", b"%d" % number) for number in range(3)]


@dataclass(frozen=True)
class Deed:
    """`which`: letter; `mended`: one of three corrections; `dies`: after so many appends. "twin": the record of that letter comes
    again, fails, and is corrected between what a bulk resend reads and what it sends. "refuses": from then on the broker takes that
    correction no more."""

    what: str
    which: int
    mended: int
    dies: int | None = None


DEEDS = st.builds(
    Deed,
    st.sampled_from(("resend", "resend one", "original", "correct", "discard", "discard one", "fails again", "twin", "refuses")),
    st.integers(0, 5),
    st.integers(0, 2),
    st.sampled_from((None, None, 0, 1, 2, 2, 4)),
)


class Hospital:
    """`read`: how many of those sent again were tried. `meant`: which of them somebody sent in so many words. `corrects`: which of
    them is a copy, and of what. `too_large`: what the broker never takes."""

    def __init__(self, too_large: set[bytes]) -> None:
        self.log = DyingLog()
        self.log.refuses = lambda one: one.topic == topics.HL7_RAW.name and one.value in too_large
        self.too_large = too_large
        self.read = 0
        self.meant: set[int] = set()
        self.corrects: dict[int, bytes] = {}

    @property
    def sent(self) -> list[Record]:
        return self.log.records(topics.HL7_RAW.name)

    def value(self, letter: Letter) -> bytes:
        return next(one.value for one in self.log.records(topics.DEAD_LETTERS.name) if one.place == letter.place)

    async def letters(self) -> list[Letter]:
        return list((await read_letters(self.log)).by_id.values())

    async def does(self, deed: Deed, of: Actor) -> None:
        letters = await self.letters()
        letter = letters[deed.which % len(letters)]
        self.log.dies = deed.dies
        try:
            await self._does(deed, letter, of)
        except BrokerUnavailable:
            assert deed.dies is not None
        self.log.dies = None

    async def _does(self, deed: Deed, letter: Letter, of: Actor) -> None:
        ids = [str(letter.id)] if deed.what in ("resend one", "original", "discard one") else []
        match deed.what:
            case "correct":
                await self.correct(letter, deed.mended, of)
            case "discard" | "discard one":
                found, _ = discardable(await read_letters(self.log), ids, Filter(), all_open=not ids)
                await discard(self.log, found, of, CLOCK, lambda _: None)
            case "fails again":
                new = self.sent[self.read :]
                await self.log.append([failed(record) for record in new])
                self.read += len(new)
            case "refuses":
                self.too_large.add(MENDED[deed.mended])
            case "twin":
                await self.resend(ids, of, twin=(letter, deed.mended))
            case "original":
                before = len(self.sent)
                try:
                    await self.resend(ids, of, original=True)
                finally:
                    self.meant |= set(range(before, len(self.sent)))
            case _:
                await self.resend(ids, of)

    async def resend(
        self, ids: Sequence[str], of: Actor, *, original: bool = False, twin: tuple[Letter, int] | None = None
    ) -> Plan:
        none = lambda _: None  # noqa: E731
        letters, plan = await planned(self.log, ids, Filter(), ["fhir"], all_open=not ids, say=none, original=original)
        assert all(str(one.place) in why for one, why in plan.refused)
        if twin is not None:
            letter, mended = twin
            await self.correct(await self.comes_again(letter), mended, of)
        held = None if original else partial(corrected_meanwhile, Existing(FakeHistory(self.log)), letters)
        await carry_out(self.log, plan, of, Pace(8.0, lambda: 0.0, at_once), none, held)
        return plan

    async def comes_again(self, letter: Letter) -> Letter:
        letters = await self.letters()
        (place,) = await self.log.append([failed(original(1000 + len(letters), value=self.value(letter)))])
        return next(one for one in await self.letters() if one.place == place)

    async def correct(self, letter: Letter, mended: int, of: Actor) -> None:
        there, site = Existing(FakeHistory(self.log)), Site(default_assigner="H")
        before = len(self.sent)
        try:
            copy = await correction_of(there, str(letter.id), MENDED[mended], site, Admission(), lambda _: None)
            if copy is not None:
                await send_one(self.log, copy, of, lambda _: None)
        except SettingsInvalid:  # it holds the same
            pass
        finally:
            new = range(before, len(self.sent))
            self.meant |= set(new)
            self.corrects |= dict.fromkeys(new, self.value(letter))

    def no_original_follows_its_correction(self) -> None:
        corrected: set[bytes] = set()
        for number, record in enumerate(self.sent):
            assert record.value not in corrected or number in self.meant
            corrected |= {self.corrects[number]} if number in self.corrects else set()

    async def the_list_is_right(self) -> None:
        letters = await read_letters(self.log)
        sent = {record.header(RESENT_FROM) for record in self.sent}
        waiting = chosen(letters, Filter())
        for letter in letters.by_id.values():
            state = letters.state(letter)
            assert (letter in waiting) == (state in ("open", "sending"))
            assert (state != "resent" or str(letter.place) in sent) and (state != "open" or str(letter.place) not in sent)

    async def everything_can_be_brought_to_an_end(self, of: Actor) -> None:
        """By doing what is said of those that a choice leaves out; what cannot be sent is discarded."""
        left_out = (await self.resend([], of)).refused
        waiting = set(chosen(await read_letters(self.log), Filter())) - {letter for letter, _ in left_out}
        assert {self.value(letter) for letter in waiting} <= self.too_large
        for number, (letter, _) in enumerate(left_out):
            await self.does(Deed(("correct", "discard one")[number % 2], (await self.letters()).index(letter), number % 3), of)
        for letter in chosen(await read_letters(self.log), Filter()):
            await self.does(Deed("discard one", (await self.letters()).index(letter), 0), of)
        letters = await read_letters(self.log)
        assert chosen(letters, Filter()) == []
        sent = {record.header(RESENT_FROM) for record in self.sent}
        assert all(str(one.place) in sent or letters.state(one) == "discarded" for one in letters.by_id.values())


async def at_once(_: float) -> None: ...


async def happens(deeds: Sequence[Deed], too_large: set[bytes]) -> None:
    hospital = Hospital(set(too_large))
    await hospital.log.append([failed(original(number, value=value)) for number, value in enumerate(CAME)])
    for number, deed in enumerate(deeds):
        await hospital.does(deed, Actor(f"person {number}", "why"))
        hospital.no_original_follows_its_correction()
        await hospital.the_list_is_right()
    await hospital.everything_can_be_brought_to_an_end(Actor("the last", "why"))
    hospital.no_original_follows_its_correction()
    await hospital.the_list_is_right()


@settings(max_examples=120, deadline=None)
@example([Deed("correct", 0, 0, 2), Deed("resend", 0, 0)], set())
@example([Deed("correct", 0, 0, 2), Deed("correct", 0, 1), Deed("resend", 0, 0)], {MENDED[1]})
@example([Deed("resend one", 1, 0, 2), Deed("fails again", 0, 0), Deed("correct", 3, 0), Deed("resend", 0, 0)], set())
@example([Deed("correct", 0, 0, 2), Deed("refuses", 0, 0), Deed("correct", 0, 0), Deed("resend", 0, 0)], set())
@example([Deed("twin", 0, 0)], set())
@given(st.lists(DEEDS, min_size=2, max_size=9), st.sets(st.sampled_from([*CAME[:2], *MENDED[:2]]), max_size=2))
def test_in_any_order(deeds: Sequence[Deed], too_large: set[bytes]) -> None:
    asyncio.run(happens(deeds, too_large))

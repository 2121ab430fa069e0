"""Which letters a person means: by step, error, topic, sender, key and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from schemas.errors import SettingsInvalid
from schemas.history import History
from streams.asked_moments import asked_moment
from streams.clock import SystemClock
from streams.dead_letters.letters import Letter
from streams.dead_letters.standing import Letters, read_on


@dataclass(frozen=True, slots=True)
class Filter:
    """What is None chooses nothing out. `step`: "deliver" means every destination too; `error`: the name of its class; `since` and
    `until`: when the letter was written, the second not included."""

    step: str | None = None
    error: str | None = None
    topic: str | None = None
    sender: str | None = None
    key: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def chooses(self) -> bool:
        return any(getattr(self, one.name) is not None for one in fields(self))

    def matches(self, letter: Letter) -> bool:
        return (
            (self.step is None or letter.step == self.step or letter.step.startswith(f"{self.step}."))
            and (self.error is None or letter.error.lower() == self.error.lower())
            and (self.topic is None or letter.topic == self.topic)
            and (self.sender is None or letter.sender == self.sender)
            and (self.key is None or (letter.key or b"") == self.key.encode("utf-8"))
            and (self.since is None or letter.at >= self.since)
            and (self.until is None or letter.at < self.until)
        )


def filter_of(
    step: str | None,
    error: str | None,
    topic: str | None,
    sender: str | None,
    key: str | None,
    since: str | None,
    until: str | None,
    zone: ZoneInfo,
) -> Filter:
    """Of what was typed; `zone`: of times without an offset. Raises SettingsInvalid."""
    now = SystemClock().now()
    return Filter(step, error, topic, sender, key, _moment("--since", since, zone, now), _moment("--until", until, zone, now))


def _moment(option: str, text: str | None, zone: ZoneInfo, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        return asked_moment(text, zone, now)
    except ValueError as error:
        raise SettingsInvalid("dead-letters", option, str(error)) from None


def must_choose(ids: Sequence[str], wanted: Filter, *, all_open: bool) -> None:
    """Raises SettingsInvalid when nothing is said: "everything" must be, in as many words."""
    if ids and (wanted.chooses or all_open):
        raise SettingsInvalid("dead-letters", "ID", "name letters, or choose them by options: not both")
    if not (ids or wanted.chooses or all_open):
        raise SettingsInvalid("dead-letters", "ID", "name letters, choose them by options, or say --all-open")


def those(letters: Letters, ids: Sequence[str], wanted: Filter, *, all_open: bool) -> list[Letter]:
    """The letters that a person names: by ids, whatever their state; or all open ones that the filter lets through. Raises
    SettingsInvalid, as `must_choose` too."""
    must_choose(ids, wanted, all_open=all_open)
    return letters.named(ids) if ids else chosen(letters, wanted)


def chosen(letters: Letters, wanted: Filter, *, all_states: bool = False) -> list[Letter]:
    """Oldest first."""
    found = [one for one in letters.by_id.values() if wanted.matches(one) and (all_states or letters.is_open(one))]
    return sorted(found, key=lambda one: (one.at, one.place.partition, one.place.offset))


def behind_a_correction(letters: Letters, found: Sequence[Letter]) -> dict[UUID, str]:
    """Those whose own record must not be sent any more: a corrected copy of it was, or may have been, and the later of two holds.
    By id, what is to be done. Also of another letter with the same record: a message that came twice, one that was sent again."""
    asked = {one.content for one in found}
    same = (one for one in letters.by_id.values() if one.content in asked)
    corrected = {one.content: one for one in same if letters.correction(one) is not None}
    return {one.id: _behind(letters, one, corrected[one.content]) for one in found if one.content in corrected}


async def corrected_meanwhile(history: History, letters: Letters, found: Sequence[Letter]) -> dict[UUID, str]:
    """The same, after what others did since the letters were read, also about letters that came since. Raises BrokerUnavailable."""
    await read_on(history, letters)
    return behind_a_correction(letters, found)


def _behind(letters: Letters, one: Letter, corrected: Letter) -> str:
    act = letters.correction(corrected)
    assert act is not None
    same = "" if one is corrected else f" (of {corrected.place}, which holds the same)"
    when = f"{act.by} at {act.time.isoformat(timespec='seconds')}"
    return (
        f"{one.place}: a corrected copy{same} was sent by {when}, or may have been: "
        "give --correct FILE again, discard it, or send the original behind the copy with its ID and --original"
    )


def being_corrected(letters: Letters, found: Sequence[Letter]) -> list[Letter]:
    """Of which it is not known whether their corrected copy was sent."""
    return [one for one in found if letters.state(one) == "sending" and letters.correction(one) is not None]

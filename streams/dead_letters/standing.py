"""What became of the dead letters: the topic and the acts of people on the audit, read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import UUID

from pydantic import ValidationError

from schemas.acts import DeadLetterDiscarded, DeadLetterResent
from schemas.errors import SettingsInvalid
from schemas.history import History
from schemas.ports import Record
from streams import topics
from streams.dead_letters.letters import Letter, letter_of
from streams.existing import Readable
from streams.placed import records_at

#: "sending": somebody began to send it again, and it is not known whether it was sent
State = Literal["open", "sending", "resent", "discarded"]
LetterAct = DeadLetterResent | DeadLetterDiscarded

_ACTS: dict[str, type[LetterAct]] = {kind.TYPE: kind for kind in (DeadLetterResent, DeadLetterDiscarded)}
#: of an id, that a person need not type whole
_SHORTEST = 6


@dataclass(slots=True)
class Letters:
    """By id, in the order of the topic's partitions; `copies`: how often each stands there; `places`: whose each place is; `read`:
    up to where each partition of either topic was."""

    by_id: dict[UUID, Letter] = field(default_factory=dict)
    copies: defaultdict[UUID, int] = field(default_factory=lambda: defaultdict(int))
    places: dict[str, UUID] = field(default_factory=dict)
    acts: defaultdict[UUID, list[LetterAct]] = field(default_factory=lambda: defaultdict(list))
    read: dict[tuple[str, int], int] = field(default_factory=dict)

    def take(self, record: Record, *, senders: bool = False) -> None:
        """A record of the letters, or of the audit; what is neither is passed over. `senders` as of `letter_of`."""
        self.read[record.place.topic, record.place.partition] = record.place.offset + 1
        if record.place.topic == topics.AUDIT.name:
            act = _act_of(record)
            if act is not None:
                self.acts[act.letter_id].append(act)
            return
        letter = letter_of(record, senders=senders)
        if letter is None:
            return
        self.by_id.setdefault(letter.id, letter)
        self.copies[letter.id] += 1
        self.places[str(letter.place)] = letter.id

    def state(self, letter: Letter) -> State:
        """The last word holds, but what failed leaves it as it was."""
        acts = self.acts.get(letter.id, ())
        if acts and isinstance(acts[-1], DeadLetterDiscarded):
            return "discarded"
        sent = self.sent(letter)
        return "open" if not sent else "resent" if sent[-1].outcome == "done" else "sending"

    def sent(self, letter: Letter) -> Sequence[DeadLetterResent]:
        """How it was sent ("done"), or may have been ("begun"), in order. One "failed" takes back one "begun" of the same content:
        an earlier try may be on its topic all the same."""
        found: list[DeadLetterResent] = []
        for act in self.acts.get(letter.id, ()):
            if isinstance(act, DeadLetterDiscarded):
                continue
            begun = [n for n, one in enumerate(found) if (one.outcome, one.corrected_sha256) == ("begun", act.corrected_sha256)]
            match act.outcome:
                case "begun":
                    found.append(act)
                case "failed":
                    found = [one for n, one in enumerate(found) if n not in begun[-1:]]
                case "done":
                    found = [*(one for n, one in enumerate(found) if n not in begun), act]
        return found

    def correction(self, letter: Letter) -> DeadLetterResent | None:
        """The last corrected copy of it that was sent, or may have been."""
        return next((act for act in reversed(self.sent(letter)) if act.corrected_sha256 is not None), None)

    def is_open(self, letter: Letter) -> bool:
        return self.state(letter) in ("open", "sending")

    def came_back(self, letter: Letter) -> Sequence[Letter]:
        """Those that were made of what was sent again from it."""
        return [one for one in self.by_id.values() if self.places.get(one.came_from or "") == letter.id]

    def named(self, ids: Iterable[str]) -> list[Letter]:
        """Each by its id, the first characters of it, or its place. Raises SettingsInvalid."""
        return list(dict.fromkeys(self._named(id.strip().lower()) for id in ids))

    def _named(self, wanted: str) -> Letter:
        if wanted in self.places:
            return self.by_id[self.places[wanted]]
        found = [one for id, one in self.by_id.items() if str(id).startswith(wanted)]
        if len(found) > 1 and len(wanted) >= _SHORTEST:
            raise SettingsInvalid("dead-letters", wanted, f"{len(found)} letters begin with it: give more of it")
        if len(wanted) < _SHORTEST or not found:
            raise SettingsInvalid("dead-letters", wanted, "there is none: radstream dead-letters list --all names them")
        return found[0]


async def read_letters(log: Readable, *, senders: bool = False) -> Letters:
    """All that is on both topics now; what is none is passed over. `senders` as of `letter_of`. Raises BrokerUnavailable."""
    found = Letters()
    for topic in (topics.DEAD_LETTERS.name, topics.AUDIT.name):
        async for record in log.read(topic):
            found.take(record, senders=senders)
    return found


async def read_on(history: History, letters: Letters) -> None:
    """What people did about them since they were read, and what has come since: the audit first, so that each letter is known of
    which an act is. Raises BrokerUnavailable."""
    for topic in (topics.AUDIT.name, topics.DEAD_LETTERS.name):
        for span in await history.spans(topic):
            first = max(span.first, letters.read.get((topic, span.partition), 0))
            async for record in history.records(replace(span, first=min(first, span.end))):
                letters.take(record)


async def record_of(history: History, letter: Letter) -> Record:
    """The letter as it stands on its topic. Raises BrokerUnavailable; SettingsInvalid when it is gone."""
    records, _ = await records_at(history, [letter.place])
    if letter.place not in records:
        raise SettingsInvalid("dead-letters", str(letter.place), "is not on the topic any more")
    return records[letter.place]


def _act_of(record: Record) -> LetterAct | None:
    """None for an act about something else, or one that cannot be read."""
    kind = _ACTS.get(record.header("ce_type") or "")
    try:
        return None if kind is None else kind.model_validate_json(record.value)
    except ValidationError:
        return None

"""What is sent again for a choice of letters. Of most the record as it was. Of a delivery the latest state of its study, whatever
state failed then: a destination is brought to what is so now."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from uuid import UUID

from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.dead_letter import original_of
from streams.dead_letters.again import again, linked, objection
from streams.dead_letters.latest import Report, delivered_states, latest_states, state_of
from streams.dead_letters.letters import DELIVERS, Letter
from streams.deliveries import place_of
from streams.existing import Readable


@dataclass(frozen=True, slots=True)
class Sending:
    """One record, and the letters that are done with it; it is linked to the last of them."""

    letters: tuple[Letter, ...]
    record: Outgoing
    corrected_sha256: str | None = None


@dataclass(slots=True)
class Plan:
    """`plain`: sent as it was. `superseded`: with the number of the state that the destination has taken since. `refused`: why."""

    plain: dict[Place, Letter] = field(default_factory=dict)
    deliveries: list[Sending] = field(default_factory=list)
    superseded: list[tuple[Letter, int]] = field(default_factory=list)
    refused: list[tuple[Letter, str]] = field(default_factory=list)

    @property
    def letters(self) -> int:
        """That are to be sent."""
        return len(self.plain) + sum(len(one.letters) for one in self.deliveries)

    def lines(self) -> list[str]:
        """In words."""
        counted = Counter(f"to {one.topic} for {one.step}" for one in self.plain.values())
        said = [f"{number} {what}" for what, number in counted.most_common()]
        of = Counter((one.record.topic, one.letters[-1].step) for one in self.deliveries for _ in one.letters)
        studies = Counter((one.record.topic, one.letters[-1].step) for one in self.deliveries)
        for (topic, step), number in of.most_common():
            said.append(f"{number} to {topic} for {step}: the latest state of {studies[topic, step]} report(s)")
        if self.superseded:
            said.append(f"{len(self.superseded)} superseded: what holds now was delivered since")
        refused = Counter(why for _, why in self.refused)
        return [*said, *(f"{number} not: {why}" for why, number in refused.most_common())]


async def plan_of(
    log: Readable,
    chosen: Sequence[Letter],
    destinations: Collection[str],
    held: Mapping[UUID, str] = MappingProxyType({}),
) -> Plan:
    """`destinations`: the names of those that are told now; `held`: letters that must not be sent, and why. Raises
    BrokerUnavailable."""
    plan, delivering = Plan(), dict[Place, Letter]()
    for letter in chosen:
        why = objection(letter, destinations) or held.get(letter.id)
        if why is not None:
            plan.refused.append((letter, why))
        else:
            (delivering if letter.delivers else plan.plain)[letter.place] = letter
    if delivering:
        await _deliveries(log, delivering, plan)
    return plan


async def sendings(log: Readable, plan: Plan) -> AsyncIterator[Sending]:
    """The letters are read once more and sent as they pass, so that no more than a few are held: they may be large. Raises
    BrokerUnavailable."""
    for delivery in plan.deliveries:
        yield delivery
    if not plan.plain:
        return
    async for record in log.read(topics.DEAD_LETTERS.name):
        letter = plan.plain.get(record.place)
        if letter is not None:
            yield Sending((letter,), again(record, letter))


@dataclass(slots=True)
class _Failed:
    """Letters about one report on its way to one destination, and the latest state that failed."""

    letters: list[Letter] = field(default_factory=list)
    sequence: int = 0
    record: Outgoing | None = None


async def _deliveries(log: Readable, delivering: dict[Place, Letter], plan: Plan) -> None:
    failed: dict[tuple[str, str, Report], _Failed] = {}
    async for record in log.read(topics.DEAD_LETTERS.name):
        letter = delivering.get(record.place)
        if letter is None:
            continue
        state = state_of(letter.topic, record.value)
        if state is None:
            plan.refused.append((letter, "its value cannot be read, and could not be the next time: discard it"))
            continue
        one = failed.setdefault((letter.step, letter.topic, state.report), _Failed())
        one.letters.append(letter)
        if state.sequence > one.sequence:
            one.sequence, one.record = state.sequence, original_of(record)
    latest = {topic: await latest_states(log, topic, _reports(failed, topic)) for topic in {topic for _, topic, _ in failed}}
    delivered = await delivered_states(log, [(_place(step, of), of.study) for step, _, of in failed])
    for (step, topic, of), one in failed.items():
        sequence, now = _later(one, latest[topic].get(of))
        taken = delivered.get((_place(step, of), of.study), 0)
        if taken >= sequence:
            plan.superseded += [(letter, taken) for letter in one.letters]
        else:
            plan.deliveries.append(Sending(tuple(one.letters), linked(now, one.letters[-1], step)))


def _later(failed: _Failed, latest: tuple[int, Record] | None) -> tuple[int, Outgoing]:
    """What stands on the topic; what failed, when that is gone from there."""
    assert failed.record is not None
    if latest is None or latest[0] < failed.sequence:
        return failed.sequence, failed.record
    sequence, record = latest
    return sequence, Outgoing(record.place.topic, record.key, record.value, record.headers)


def _reports(failed: Iterable[tuple[str, str, Report]], topic: str) -> set[Report]:
    return {report for _, of, report in failed if of == topic}


def _place(step: str, of: Report) -> str:
    return place_of(step.removeprefix(DELIVERS), of.service)

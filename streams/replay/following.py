"""From a number to all records of its cases: those that the projection kept, and what it has not seen yet, read from the topics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import aclosing

from schemas.case_store import Traced, Traces
from schemas.errors import MalformedMessage, UnsupportedMessage
from schemas.events import PatientUnlinked
from schemas.history import History, Span
from schemas.ports import Place
from streams.case_names import (
    Names,
    accession_names,
    may_be_of_one_case,
    model_name,
    numbers_of,
    of_a_case,
    of_one_case_alone,
    of_patients,
    patient_names,
)
from streams.causes import cause_of
from streams.replay.gaps import parted
from streams.replay.plan import records_of
from streams.replay.selection import Selection
from streams.steps.project import NAMED, names_in
from streams.topics import PATIENTS

Seen = Callable[[int], None]

#: records outside the projection that are read once and kept in memory: some 50 MB
_FEW = 50_000


class Following:
    """`kept`: the projection; None: there is none, and the topics are read: once for each step of the chain, or once where they
    hold little. `seen` is told of records that were read."""

    def __init__(self, history: History, kept: Traces | None, seen: Seen) -> None:
        self._history = history
        self._kept = kept
        self._seen = seen
        self._apart: Sequence[Span] | None = None
        self._read_before: Sequence[Traced] | None = None
        #: what nobody has, and the projection has not seen: whether it names a case nobody knows
        self.gone: Sequence[Span] = ()

    async def naming(self, names: Collection[str]) -> Sequence[Traced]:
        """All records of a topic in NAMED that name any of these. Raises StoreUnavailable, and as `History.records`."""
        wanted = frozenset(names)
        if not wanted:
            return ()
        kept = [] if self._kept is None else await self._kept.traced(wanted)
        found = {one.place: one for one in kept}
        async for one in self._unprojected():
            if not wanted.isdisjoint(one.names):
                found[one.place] = one
        return list(found.values())

    async def _unprojected(self) -> AsyncIterator[Traced]:
        """What the projection has not seen: all of it, or what came since it stood. Little of it is remembered."""
        if self._read_before is not None:
            for one in self._read_before:
                yield one
            return
        if self._apart is None:
            known = [] if self._kept is None else await self._kept.named_spans()
            held = [span for topic in NAMED for span in await self._history.spans(topic.name)]
            self._apart, self.gone = await parted(self._history, _without(held, known))
        few: list[Traced] | None = [] if sum(map(len, self._apart)) <= _FEW else None
        async for one in self._read(self._apart):
            if few is not None:
                few.append(one)
            yield one
        self._read_before = few

    async def _read(self, spans: Sequence[Span]) -> AsyncIterator[Traced]:
        """What it cannot read is no part of a case."""
        async with aclosing(records_of(self._history, spans)) as records:
            async for record in records:
                self._seen(1)
                try:
                    names = names_in(record)
                except (MalformedMessage, UnsupportedMessage):
                    continue
                yield Traced(record.place, record.timestamp, record.header("ce_type") or "", names, cause_of(record))


async def cases_of(selection: Selection, following: Following) -> Sequence[Traced]:
    """All records of the cases that are selected, whole, with what was said of their patients. Raises as `Following.naming`."""
    chosen: dict[Place, Traced] = {}
    persons: list[Traced] = []
    kinds: list[Names] = []
    for names in _asked(selection):
        if of_patients(names):
            names, persons = await _said_of(names, following, joined_only=False)
        said = [one for one in await following.naming(names) if _within(one, selection)]
        case, records = await _whole(said, following)
        kinds.append(case)
        chosen |= {one.place: one for one in records}
    both = frozenset.intersection(*kinds)
    of_both = [one for one in chosen.values() if not both.isdisjoint(one.names)]
    patients = of_patients(name for one in of_both for name in one.names)
    _, joined = await _said_of(patients, following, joined_only=True)
    alone = persons if len(kinds) == 1 else []
    return list({one.place: one for one in (*of_both, *joined, *alone)}.values())


def _asked(selection: Selection) -> Iterable[Names]:
    """Of each kind that is given the names that are looked for."""
    kinds = (
        (selection.accession_numbers, accession_names),
        (selection.patients, patient_names),
        (selection.models, lambda reference: frozenset((model_name(reference),))),
    )
    for texts, named in kinds:
        if texts:
            yield frozenset(name for text in texts for name in named(text))


async def _whole(said: Iterable[Traced], following: Following) -> tuple[Names, Sequence[Traced]]:
    """The numbers of a case, and what is linked to these records by them, over any number of steps."""
    names, known = frozenset(name for one in said for name in one.names), Names()
    found, apart = dict[Place, Traced](), dict[Place, Traced]()
    before: Names | None = None
    while names != before:  # also by a patient alone: what was set apart may be of the case by that
        before, new = names, of_a_case(names) - known
        known |= new
        apart |= {one.place: one for one in await following.naming(new) if one.place not in found}
        for one in await _own(list(apart.values()), names, following):
            found[one.place] = apart.pop(one.place)
            names |= one.names
    return known, list(found.values())


async def _own(several: Sequence[Traced], names: Names, following: Following) -> list[Traced]:
    """Of those that share a number with the case of these names, those that are of it: by accession number or study, or by the
    number of an order that nothing contradicts. A patient may have another number by now."""
    certain, case = of_one_case_alone(names), numbers_of(names)
    own, others = list[Traced](), list[Traced]()
    for one in several:
        fits = not certain.isdisjoint(one.names) or may_be_of_one_case(numbers_of(one.names), case)
        (own if fits else others).append(one)
    if others:
        patients, _ = await _said_of(of_patients(names), following, joined_only=True)
        case = numbers_of(names | patients)
        own += [one for one in others if may_be_of_one_case(numbers_of(one.names), case)]
    return own


async def _said_of(patients: Names, following: Following, *, joined_only: bool) -> tuple[Names, list[Traced]]:
    """These patients with those that they were ever joined with, and what was said of them. `joined_only`: not that of one
    identifier alone, which joins nothing."""
    known, new, found = set(patients), set(patients), dict[Place, Traced]()
    while new:
        said = [one for one in await following.naming(new) if one.place.topic == PATIENTS.name]
        joining = [one for one in said if len(of_patients(one.names)) > 1]
        found |= {one.place: one for one in (joining if joined_only else said)}
        spread = [one for one in joining if one.type != PatientUnlinked.TYPE]
        new = set(of_patients(name for one in spread for name in one.names)) - known
        known |= new
    return frozenset(known), list(found.values())


def _within(one: Traced, selection: Selection) -> bool:
    after = selection.since is None or one.at >= selection.since
    return after and (selection.until is None or one.at < selection.until)


def _without(held: Iterable[Span], known: Iterable[Span]) -> Iterator[Span]:
    """What is held and not known; `known` in order."""
    stretches: dict[tuple[str, int], list[Span]] = {}
    for span in known:
        stretches.setdefault((span.topic, span.partition), []).append(span)
    for span in held:
        first = span.first
        for there in stretches.get((span.topic, span.partition), ()):
            if first < min(there.first, span.end):
                yield Span(span.topic, span.partition, first, min(there.first, span.end))
            first = max(first, there.end)
        if first < span.end:
            yield Span(span.topic, span.partition, first, span.end)

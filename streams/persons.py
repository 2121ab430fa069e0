"""Which patient identifiers belong to one person, and by which one the person goes now: a pure function of the set of
patient events and the order of their first arrival.

The words are read from the newest to the oldest, and an older word counts where no newer one contradicts it:

- all identifiers of one PID-3 are one person (A08 and the like; also the PIDs of a merge and of an unlink);
- a merge joins MRG-1 to PID-3; an unlink keeps its two sides apart, unless a newer word joined them;
- a word that would join what a newer unlink keeps apart joins nobody: where the third identifier it names belongs is unknown;
- a PID-3 that gives an identifier another number of one assigner than a newer PID-3 does joins nobody either: a national number
  that was typed into the wrong record, or a filler like 000, must not make two patients one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations, product
from operator import attrgetter

from schemas.events import PatientEvent, PatientMerged, PatientUnlinked
from schemas.identifiers import PatientIdentifier
from streams.order_of_truth import newest_first

Identifiers = frozenset[PatientIdentifier]


class Persons:
    """`events` in order of first arrival: all that name an identifier in question, or one joined with it."""

    def __init__(self, events: Sequence[PatientEvent] = ()) -> None:
        self._person: dict[PatientIdentifier, Identifiers] = {}
        self._into: dict[PatientIdentifier, PatientIdentifier] = {}
        self._apart: set[tuple[PatientIdentifier, PatientIdentifier]] = set()
        #: with which identifiers of an assigner the newest PID-3 names an identifier
        self._beside: dict[tuple[PatientIdentifier, str], Identifiers] = {}
        for event in newest_first(events, attrgetter("named")):
            self._read(event)

    def person(self, identifier: PatientIdentifier) -> Identifiers:
        """All identifiers of the person who has this one."""
        return self._person.get(identifier, frozenset((identifier,)))

    def survivor(self, identifier: PatientIdentifier) -> PatientIdentifier:
        """The identifier that merges leave of this one."""
        while (into := self._into.get(identifier, identifier)) != identifier:
            identifier = into
        return identifier

    def are_apart(self, identifiers: Collection[PatientIdentifier]) -> bool:
        """Whether an unlink in force keeps any two of them apart."""
        return any(self._kept_apart(one, other) for one, other in combinations(identifiers, 2))

    def agree(self, one: Collection[PatientIdentifier], other: Collection[PatientIdentifier]) -> bool:
        """Whether two lists of identifiers name one person. Where both hold numbers of the same assigners these decide, for
        the number that joins the rest may have been typed into the wrong record."""
        if self.are_apart({*one, *other}):
            return False
        both = {number.assigner for number in one} & {number.assigner for number in other}
        here, there = [
            {(number.assigner if both else "", self.person(number)) for number in some if not both or number.assigner in both}
            for some in (one, other)
        ]
        return not here.isdisjoint(there)

    def view(self, identifiers: Iterable[PatientIdentifier]) -> object:
        """What is said of these; two equal views are one state of affairs."""
        told = frozenset((one, self.person(one), self.survivor(one)) for one in identifiers)
        return told, frozenset(self._apart)

    def _read(self, event: PatientEvent) -> None:
        if isinstance(event, PatientUnlinked):
            prior = [one for one in event.prior if one not in event.patients]
            patients = [one for one in event.patients if one not in event.prior]
            for one, other in product(patients, prior):
                if other not in self.person(one):
                    self._apart.add((one, other))
            self._lists([patients, prior], together=False)
            return
        self._lists(event.identifier_lists, together=True)
        if isinstance(event, PatientMerged):
            self._merge(event)

    def _lists(self, lists: Sequence[Sequence[PatientIdentifier]], *, together: bool) -> None:
        """The PID-3 and MRG-1 of one event; `together`: they speak of one person."""
        for listed in [listed for listed in lists if not self._contradicted(listed)]:
            for other in listed[1:]:
                self._join(listed[0], other)
        for person in [[one for listed in lists for one in listed]] if together else lists:
            for one, other in product(person, repeat=2):
                if one.assigner != other.assigner:
                    beside = frozenset(number for number in person if number.assigner == other.assigner)
                    self._beside.setdefault((one, other.assigner), beside)

    def _contradicted(self, listed: Sequence[PatientIdentifier]) -> bool:
        if self.are_apart(listed):
            return True
        pairs = [(one, other) for one, other in product(listed, repeat=2) if one.assigner != other.assigner]
        return any(other not in self._beside.get((one, other.assigner), (other,)) for one, other in pairs)

    def _merge(self, event: PatientMerged) -> None:
        if self.are_apart(event.named):
            return
        for one in event.patients:
            self._into.setdefault(one, one)
        for prior in event.prior:
            surviving = next((one for one in event.patients if one.assigner == prior.assigner), event.patients[0])
            self._join(surviving, prior)
            self._into.setdefault(prior, surviving)

    def _join(self, one: PatientIdentifier, other: PatientIdentifier) -> None:
        if not self._kept_apart(one, other):
            together = self.person(one) | self.person(other)
            self._person.update(dict.fromkeys(together, together))

    def _kept_apart(self, one: PatientIdentifier, other: PatientIdentifier) -> bool:
        here, there = self.person(one), self.person(other)
        return any((a in here and b in there) or (a in there and b in here) for a, b in self._apart)

"""What was said of each study: one side of a comparison, the live results or those of a replay. Pure but for what it remembers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from uuid import UUID

from pydantic import ValidationError

from schemas.events import Priority
from schemas.findings import Findings, Subject
from schemas.history import Span
from schemas.identifiers import identity
from schemas.ports import Place, Record
from schemas.renderings.fhir.envelope import open_bundle
from schemas.study_events import AnalysisRequested
from streams.causes import replay_of
from streams.replay import whose
from streams.replay.ahead import TOLERANCE
from streams.replay.letters import Letter, Twin, letter_of
from streams.topics import REQUESTS, REQUESTS_BULK, REQUESTS_STAT, RESULTS, plain_name

#: Study Instance UID and service
Key = tuple[str, str]
#: whether a state belongs to what is compared
Counts = Callable[[Subject, Record], bool]

LANES = {REQUESTS.name: "routine", REQUESTS_STAT.name: "STAT", REQUESTS_BULK.name: "bulk"}


@dataclass(frozen=True, slots=True)
class State:
    """`text`: what receivers read, the conclusion of the DiagnosticReport; None where no report of it was made."""

    findings: Findings
    record: Record
    text: str | None = None

    @property
    def sequence(self) -> int:
        return self.findings.subject.sequence


@dataclass(frozen=True, slots=True)
class Asked:
    """The last request of a study. `lane`: of LANES."""

    sequence: int
    lane: str
    priority: Priority


@dataclass(slots=True)
class Side:
    """`wanted`: of which studies (None: all). `counts`: of which states; the highest number wins, whatever the order in which they
    come. `standing`: the last of all states, counted or not; what a person published of a replay is no word of the steps: it
    stands, but never counts. `awaited`: which dead letters the other side has (None: all are kept)."""

    wanted: frozenset[str] | None = None
    counts: Counts = lambda subject, record: True
    awaited: frozenset[Twin] | None = None
    latest: dict[Key, State] = field(default_factory=dict)
    standing: dict[Key, State] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    #: of a study and service, those that count
    letters: dict[Key, dict[Twin, Letter]] = field(default_factory=dict)
    #: of what is about no study
    other_letters: dict[Twin, Letter] = field(default_factory=dict)
    twins: set[Twin] = field(default_factory=set)
    unreadable: int = 0
    #: what nobody has of the topics that were read
    gone: list[Span] = field(default_factory=list)
    ids: set[UUID] = field(default_factory=set)
    _states: dict[Key, set[tuple[int, str]]] = field(default_factory=dict)
    _published: set[UUID] = field(default_factory=set)
    _texts: dict[tuple[UUID, int], str] = field(default_factory=dict)

    def result(self, record: Record) -> None:
        """A record of `ai.results`, in the order of its partition; repeated, it counts once."""
        if not self._is_wanted(record):
            return
        try:
            findings = Findings.model_validate_json(record.value)
        except ValidationError:
            self.unreadable += 1
            return
        key, state = (str(findings.subject.study_instance_uid), findings.service), State(findings, record)
        self.ids.add(findings.analysis_id)
        _keep(self.standing, key, state)
        if replay_of(record) is not None or findings.analysis_id in self._published:
            self._published |= {findings.analysis_id, identity("recalled", str(findings.analysis_id))}
        elif self.counts(findings.subject, record):
            _keep(self.latest, key, state)
            self._states.setdefault(key, set()).add((state.sequence, str(findings.analysis_id)))

    def text(self, record: Record) -> None:
        """A record of `ai.findings`."""
        if not self._is_wanted(record):
            return
        try:
            told = open_bundle(record.value)
        except ValueError:
            self.unreadable += 1
            return
        self._texts[told.analysis_id, told.sequence] = str(told.report.get("conclusion", ""))

    def request(self, record: Record) -> None:
        """A record of one of the topics in LANES."""
        if not self._is_wanted(record):
            return
        try:
            request = AnalysisRequested.model_validate_json(record.value)
        except ValidationError:
            self.unreadable += 1
            return
        if not self.counts(request.subject, record):
            return
        study = str(request.subject.study_instance_uid)
        new = Asked(request.subject.sequence, LANES[plain_name(record.place.topic)], request.priority)
        if study not in self.asked or self.asked[study].sequence <= new.sequence:
            self.asked[study] = new

    def letter(self, record: Record) -> None:
        """A record of `radstream.dead-letters`."""
        letter = letter_of(record)
        if self.awaited is None or letter.twin in self.awaited:
            self.twins.add(letter.twin)
        if letter.subject is None:
            if self.awaited is None:
                self.other_letters.setdefault(letter.twin, letter)
            return
        study = str(letter.subject.study_instance_uid)
        # an answer's own cause is the request; a request's is told by where it stood itself
        cause = record if letter.of_analysis else letter.original
        if (self.wanted is None or study in self.wanted) and self.counts(letter.subject, cause):
            self.letters.setdefault((study, letter.service), {}).setdefault(letter.twin, letter)

    def given_up(self, key: Key) -> Iterator[Letter]:
        """Dead letters that nothing made good later: no state of that number or a later one, no report of it."""
        state = self.state(key)
        for letter in self.letters.get(key, {}).values():
            if state is not None and letter.of_analysis and state.sequence >= letter.sequence:
                continue
            if state is not None and letter.step == "report" and (state.sequence > letter.sequence or state.text is not None):
                continue
            yield letter

    def lacks(self, key: Key, *, behind: State | None = None) -> Span | None:
        """Results that are gone among which one of these may have been; `behind`: behind this one of them."""
        known = behind or self.standing.get(key)
        at = None if known is None else known.record.place
        for span in self.gone:
            where = at is None or (span.partition == at.partition and (span.first > at.offset or behind is None))
            if where and plain_name(span.topic) == RESULTS.name:
                return span
        return None

    def states(self, key: Key) -> int:
        """How many of them counted."""
        return len(self._states.get(key, ()))

    def state(self, key: Key) -> State | None:
        """The last that counted, with its text."""
        state = self.latest.get(key)
        if state is None:
            return None
        return State(state.findings, state.record, self._texts.get((state.findings.analysis_id, state.sequence)))

    @property
    def studies(self) -> frozenset[str]:
        """Of which there is anything."""
        return frozenset(study for study, _ in (*self.latest, *self.letters))

    def models(self) -> Iterator[tuple[str, int]]:
        """NAME/VERSION, and of how many of the states that are compared."""
        named = Counter(f"{m.name}/{m.version}" for state in self.latest.values() if (m := state.findings.model) is not None)
        yield from sorted(named.items())

    def _is_wanted(self, record: Record) -> bool:
        return self.wanted is None or (record.key or b"").decode("utf-8", "replace") in self.wanted


def of_requests(spans: tuple[Span, ...]) -> Counts:
    """States that answer a request at one of these places, and requests that became a dead letter."""
    within: dict[tuple[str, int], list[Span]] = {}
    for span in spans:
        within.setdefault((span.topic, span.partition), []).append(span)

    def counts(subject: Subject, record: Record) -> bool:
        del subject
        place = Place.parse(record.header("cause") or "")
        if place is None:
            return False
        return any(span.first <= place.offset < span.end for span in within.get((place.topic, place.partition), ()))

    return counts


def until(latest: datetime | None, new: Side, ahead: Mapping[str, Sequence[datetime]] = MappingProxyType({})) -> Counts:
    """States that were triggered by what the replay read: not after its last input, nor after the last of its own states of the
    study, which a timer may have made later; or by one of the inputs whose clock was `ahead` (their own times, by whose they are):
    live that was their time, though a replay takes them earlier."""

    def is_of_one(subject: Subject) -> bool:
        at = subject.triggered_at  # a record is written a moment behind its event
        return any(timedelta(0) <= own - at <= TOLERANCE for name in whose.of(subject) for own in ahead.get(name, ()))

    ends: dict[str, datetime] = {}
    for (study, _), state in new.latest.items():
        at = state.findings.subject.triggered_at
        if not is_of_one(state.findings.subject):
            ends[study] = max(at, ends.get(study, at), latest or at)

    def counts(subject: Subject, record: Record) -> bool:
        del record
        end = ends.get(str(subject.study_instance_uid), latest)
        return end is None or subject.triggered_at <= end or is_of_one(subject)

    return counts


def _keep(where: dict[Key, State], key: Key, state: State) -> None:
    """The first of equal ones: what is written again says the same."""
    before = where.get(key)
    if before is None or before.sequence < state.sequence:
        where[key] = state

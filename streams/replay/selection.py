"""What a replay is asked to read. Three ways to say it: places; messages or requests by time, sender and type; or whole cases."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    model_validator,
)

from schemas.history import Span
from streams import topics
from streams.topics import Topic

Start = Literal["normalise", "correlate", "analyse"]
Kind = Literal["places", "time", "messages", "cases"]

#: acts of people that the steps read beside their own topics: of these topics only recalls and acknowledgements are read
ACTS: tuple[Topic, ...] = (topics.MODELS, topics.DISCREPANCIES)

#: what a replay that starts at a step reads as it was recorded; everything behind it is made anew
INPUTS: dict[Start, tuple[Topic, ...]] = {
    "normalise": (topics.HL7_RAW, topics.STUDIES, *ACTS),
    "correlate": (topics.ORDERS, topics.REPORTS, topics.PATIENTS, topics.STUDIES, *ACTS),
    "analyse": (topics.REQUESTS_STAT, topics.REQUESTS, topics.REQUESTS_BULK),
}

_PLACES = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)/(?P<partition>[0-9]{1,9})/(?P<first>[0-9]{1,18})(-(?P<end>[0-9]{1,18}))?\Z")


def span_of(text: Any) -> Any:
    """TOPIC/PARTITION/FIRST-END, where END is the first that is no longer meant, or TOPIC/PARTITION/OFFSET as a record's place is
    written. Raises ValueError."""
    if not isinstance(text, str):
        return text
    found = _PLACES.match(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no TOPIC/PARTITION/FIRST-END")
    first = int(found["first"])
    end = first + 1 if found["end"] is None else int(found["end"])
    if end <= first:
        raise ValueError(f"{text!r} holds no record: END is the first offset that is no longer meant")
    return Span(found["topic"], int(found["partition"]), first, end)


def _upper(text: Any) -> Any:
    return text.strip().upper() if isinstance(text, str) else text


#: a Span, in JSON as text
SpanText = Annotated[Span, BeforeValidator(span_of), PlainSerializer(str, return_type=str)]
_Number = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=250)]
#: MSH-3|MSH-4: the key on `hl7.v2.raw`
_Sender = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^|]*\|[^|]*$", max_length=1024)]
#: MSH-9.1^MSH-9.2, or MSH-9.1 for all of its events
_MessageType = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{3}(\^[A-Z0-9]{1,4})?$"), BeforeValidator(_upper)]
_Model = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*/[0-9A-Za-z][0-9A-Za-z.-]*$")]


class Selection(BaseModel):
    """Several values of one kind widen, different kinds narrow. A range of time is in each partition one stretch: from its first
    record that is not before `since` to its first that is not before `until`. Raises ValueError for what does not go together."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    places: tuple[SpanText, ...] = ()
    #: value^assigner, or the value alone
    accession_numbers: tuple[_Number, ...] = ()
    #: likewise
    patients: Annotated[tuple[_Number, ...], Field(repr=False)] = ()
    senders: tuple[_Sender, ...] = ()
    message_types: tuple[_MessageType, ...] = ()
    #: NAME/VERSION: the studies of which it spoke
    models: tuple[_Model, ...] = ()
    #: None: see `start`
    start_at: Start | None = None

    @property
    def kind(self) -> Kind:
        """By case: each comes whole, and the range says which, those of which anything was written in it (by model: in which the
        model spoke)."""
        if self.places:
            return "places"
        if self.accession_numbers or self.patients or self.models:
            return "cases"
        return "messages" if self.senders or self.message_types else "time"

    @property
    def start(self) -> Start:
        """The first step that is run. Of a range of time alone the last, `analyse`: orders of before it are not known to a replay,
        so that a step that joins would decide otherwise than it did."""
        if self.start_at is not None:
            return self.start_at
        if self.kind == "places":
            return next(start for start in INPUTS if self._named <= _names(start))
        return "analyse" if self.kind == "time" else "normalise"

    @property
    def inputs(self) -> tuple[Topic, ...]:
        """What is read: of messages by sender or type nothing beside."""
        if self.kind == "messages":
            return (topics.HL7_RAW,)
        if self.kind == "places":
            return tuple(topic for topic in INPUTS[self.start] if topic.name in self._named)
        return INPUTS[self.start]

    def without_patients(self, hashed: Callable[[str], str]) -> Selection:
        """For the audit: numbers of patients as `hashed` gives them."""
        return self.model_copy(update={"patients": tuple(hashed(patient) for patient in self.patients)})

    @property
    def _named(self) -> set[str]:
        return {span.topic for span in self.places}

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        by_case = bool(self.accession_numbers or self.patients or self.models)
        by_message = bool(self.senders or self.message_types)
        by_time = self.since is not None or self.until is not None
        if not (by_case or by_message or by_time or self.places):
            raise ValueError("nothing is selected: give a time, places, a case, a sender, a message type or a model")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("the range of time is empty: `until` is the first moment that is no longer meant")
        if self.places and (by_case or by_message or by_time):
            raise ValueError("places say exactly what is read: nothing else goes with them")
        if by_case and by_message:
            raise ValueError("a case comes whole: neither sender nor message type goes with it")
        if by_message and self.start_at not in (None, "normalise"):
            raise ValueError("sender and message type are of hl7.v2.raw: the replay starts at normalise")
        _check_places(self.places, self.start_at)
        return self


def _check_places(places: tuple[Span, ...], start: Start | None) -> None:
    """Disjoint, and all of them read by one step. Raises ValueError."""
    named = {span.topic for span in places}
    if start is not None and (other := named - _names(start)):
        raise ValueError(f"a replay that starts at {start} does not read {', '.join(sorted(other))}")
    if places and not any(named <= _names(one) for one in INPUTS):
        read = "; ".join(f"{one}: {', '.join(sorted(_names(one)))}" for one in INPUTS)
        raise ValueError(f"no step that a replay can start at reads all of {', '.join(sorted(named))} ({read})")
    ordered = sorted(places, key=lambda span: (span.topic, span.partition, span.first))
    for span, after in pairwise(ordered):
        if (span.topic, span.partition) == (after.topic, after.partition) and after.first < span.end:
            raise ValueError(f"{span} and {after} overlap")


def _names(start: Start) -> set[str]:
    return {topic.name for topic in INPUTS[start]}

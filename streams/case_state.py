"""What is to be told of a study: a pure function of its events, its orders and what was told last."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations
from typing import Literal
from uuid import UUID

from schemas.case_store import StudyState, Told
from schemas.events import Priority
from schemas.findings import (
    LOINC_NUMBER,
    Examination,
    Findings,
    MessageReference,
    NotAnalysed,
    NotAnalysedReason,
    OrderReference,
    Subject,
)
from schemas.identifiers import PatientIdentifier, identity
from schemas.study_events import AnalysisRequested, StudyCompleted
from streams.linking import LinkedOrder
from streams.news import Lane
from streams.persons import Persons
from streams.sequences import next_after
from streams.study_settings import NewsSettings
from streams.topics import REQUESTS, REQUESTS_BULK, REQUESTS_STAT, RESULTS, Topic

#: HL7 table 0396
_LOINC = "LN"

_WORDS = {
    NotAnalysedReason.IDENTITY_MISMATCH: "The patient identifiers of the study and of its order do not agree.",
    NotAnalysedReason.ORDER_CANCELLED: "The order was cancelled.",
    NotAnalysedReason.NO_ORDER: "No order came for this study.",
    NotAnalysedReason.NO_IMAGE: "The study holds no image that can be analysed.",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """`order_wait`: how long a study waits for its order (rule 5); `without_order`: what then; `deadline`: how long receivers
    wait for an answer before they are told that it is late (None: for ever); `news`: of which studies they are told;
    `service`: whose analyses these are, part of every analysis id; `services`: whose reports are awaited beside the usual one
    (those that have spoken of a study are known anyway); `escalate_after`: how long a discrepancy waits for a person (None: for
    ever); `examinations`: the LOINC numbers of the site's own codes in OBR-4.1."""

    order_wait: timedelta = timedelta(seconds=60)
    without_order: Literal["analyse", "refuse"] = "analyse"
    deadline: timedelta | None = None
    news: NewsSettings = field(default_factory=NewsSettings)
    service: str = "chest-radiograph-ai"
    services: tuple[str, ...] = ()
    escalate_after: timedelta | None = None
    examinations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be told: analyse it, or why not. Two equal answers are one state, whatever `messages` say so and however they name
    the examination."""

    revision: str
    accession: str
    orders: tuple[OrderReference, ...]
    patient: PatientIdentifier | None
    priority: Priority
    reason: NotAnalysedReason | None
    lane: Lane = Lane.NEWS
    messages: tuple[MessageReference, ...] = field(default=(), compare=False)
    examination: Examination | None = field(default=None, compare=False)

    @property
    def digest(self) -> str:
        """Identity of the state; that of news is the same as before there were lanes."""
        parts = [
            self.revision,
            self.accession,
            *(order.model_dump_json() for order in self.orders),
            "" if self.patient is None else self.patient.model_dump_json(),
            self.priority,
            self.reason or "",
            *([] if self.lane is Lane.NEWS else [self.lane]),
        ]
        return hashlib.sha256("\n".join(parts).encode("utf-8")).hexdigest()


def current(state: StudyState) -> StudyCompleted:
    """The newest event of each source by its own time (clocks of two sources are not compared, rule 8), and of these the
    one that arrived last. Of a study that is gone the archive tells neither number, patient nor date: they are those it had."""
    newest: dict[str, tuple[datetime, int]] = {}
    for arrival, event in enumerate(state.events):
        newest[event.source] = max(newest.get(event.source, (event.time, arrival)), (event.time, arrival))
    event = state.events[max(arrival for time, arrival in newest.values())]
    if not event.gone:
        return event
    had = next((one for one in reversed(state.events) if not one.gone), event)
    kept = ("accession_number", "patient", "study_date")
    return event.model_copy(update={name: getattr(had, name) for name in kept})


def answer(study: StudyCompleted, orders: Sequence[LinkedOrder], persons: Persons, policy: Policy, lane: Lane) -> Answer:
    """Without orders: what is told when the wait is over. `persons`: around all patients of study and orders. Nobody waits for
    what is bulk, so it is never STAT."""
    active = [order for order in orders if not order.cancelled]
    named = active or orders
    agreed = _agree(study, named, persons)
    reason = None
    if orders and not active:
        reason = NotAnalysedReason.ORDER_CANCELLED  # of whomever it was
    elif not agreed:
        reason = NotAnalysedReason.IDENTITY_MISMATCH
    elif not orders and policy.without_order == "refuse":
        reason = NotAnalysedReason.NO_ORDER
    elif not study.images:
        reason = NotAnalysedReason.NO_IMAGE
    stat = lane is Lane.NEWS and any(order.priority is Priority.STAT for order in active)
    return Answer(
        revision=study.revision,
        accession=str(study.accession_number or ""),
        orders=tuple(order.reference for order in named),
        # nobody knows whose study it is, so it is put into nobody's record
        patient=_patient(study, named, persons) if agreed else None,
        priority=Priority.STAT if stat else Priority.ROUTINE,
        reason=reason,
        lane=lane,
        messages=tuple(dict.fromkeys(message for order in named for message in order.messages)),
        examination=_examination(named, policy.examinations),
    )


def tell(
    study: StudyCompleted, said: Answer, last: Told | None, triggered_at: datetime, policy: Policy, because: UUID | None
) -> Told:
    """The bytes that say it: those of last time when they still hold, else the next in sequence."""
    if last is not None and last.identity == said.digest:
        return last
    sequence = next_after(0 if last is None else last.sequence)
    uid = study.study_instance_uid
    analysis_id = identity("analysis", policy.service, uid, said.digest, str(sequence))
    subject = Subject(
        study_instance_uid=uid,
        revision=said.revision,
        sequence=sequence,
        accession_number=study.accession_number,
        patient=said.patient,
        orders=said.orders,
        messages=said.messages,
        examination=said.examination,
        triggered_at=triggered_at,
        outward=said.lane is Lane.NEWS,
    )
    topic: Topic
    value: AnalysisRequested | Findings
    if said.reason is None:
        topic = REQUESTS_BULK if said.lane is Lane.BULK else REQUESTS_STAT if said.priority is Priority.STAT else REQUESTS
        value = AnalysisRequested(
            id=analysis_id,
            time=triggered_at,
            subject=subject,
            images=study.images,
            priority=said.priority,
            patient_age_years=study.patient_age_years,
            study_description=study.study_description,
        )
    else:
        topic = RESULTS
        not_analysed = NotAnalysed(reason=said.reason, explanation=_WORDS[said.reason])
        value = Findings(analysis_id=analysis_id, subject=subject, not_analysed=not_analysed)
    return Told(said.digest, sequence, topic.name, value.model_dump_json().encode("utf-8"), because)


def value_of(told: Told) -> AnalysisRequested | Findings:
    """What the told bytes say."""
    kind = Findings if told.topic == RESULTS.name else AnalysisRequested
    return kind.model_validate_json(told.value)


def patients_of(study: StudyCompleted, orders: Sequence[LinkedOrder]) -> frozenset[PatientIdentifier]:
    """All identifiers that a decision about the study depends on."""
    own = () if study.patient is None else (study.patient,)
    return frozenset(own).union(*(order.patients for order in orders))


def _patient(study: StudyCompleted, orders: Sequence[LinkedOrder], persons: Persons) -> PatientIdentifier | None:
    """The number that the study has, where it has one: a national number that only PID-3 holds is no key to the archive. And
    what merges leave of that."""
    of_orders = next((order.patients for order in orders if order.patients), ())
    named = study.patient or next(iter(of_orders), None)
    return None if named is None else persons.survivor(named)


def _examination(orders: Sequence[LinkedOrder], examinations: Mapping[str, str]) -> Examination | None:
    """None where the orders name none, or several."""
    found: dict[str, Examination] = {}
    for code, text, system in (order.service for order in orders if order.service is not None):
        loinc = code if system == _LOINC else examinations.get(code, "")
        if re.fullmatch(LOINC_NUMBER, loinc):  # a sender may write anything
            found.setdefault(loinc, Examination(loinc=loinc, text=(text or "").strip()))
    return next(iter(found.values())) if len(found) == 1 else None


def _agree(study: StudyCompleted, orders: Sequence[LinkedOrder], persons: Persons) -> bool:
    """Whether all that name a patient name the same one. Who names none does not contradict."""
    named: list[Sequence[PatientIdentifier]] = [order.patients for order in orders if order.patients]
    if study.patient is not None:
        named.append((study.patient,))
    return all(persons.agree(one, other) for one, other in combinations(named, 2))

"""What the engine had said of a case, and to whom: answers of the AI, deliveries, discrepancies, dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from schemas.events import DeliveryAcknowledged
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings
from schemas.ports import Record
from schemas.study_events import AnalysisRequested
from streams import acknowledging, topics
from streams.cases.items import Answer, DeadLetter, Discrepant, Held
from streams.cases.reading import Line, Lines, of_kind
from streams.causes import replay_of
from streams.deliveries import place_of


def answers_of(lines: Lines) -> list[Answer]:
    """All that was said, each state once; and the last question of a study, when nothing was said since."""
    said: dict[tuple[str, str, int], Line[Findings]] = {}
    for answer in of_kind(Findings, lines):
        subject = answer.value.subject
        said.setdefault((subject.study_instance_uid, answer.value.service, subject.sequence), answer)
    newest = {(study, service): sequence for study, service, sequence in sorted(said)}
    # its mark, made of what stands on the live log, is the same answer
    published = {line.value.analysis_id: replay for line in said.values() if (replay := replay_of(line.record)) is not None}
    answers = [_answer(line, published, newest[study, service] == number) for (study, service, number), line in said.items()]
    asked: dict[str, Line[AnalysisRequested]] = {}
    for question in of_kind(AnalysisRequested, lines):
        subject = question.value.subject
        last = asked.setdefault(subject.study_instance_uid, question)
        if subject.sequence > last.value.subject.sequence:
            asked[subject.study_instance_uid] = question
    for study, question in asked.items():
        if not any(uid == study and number >= question.value.subject.sequence for uid, _, number in said):
            answers.append(_question(question))
    return answers


def _answer(line: Line[Findings], published: Mapping[UUID, str], stands: bool) -> Answer:
    """`published`: analysis -> the replay from which it was."""
    findings, model = line.value, line.value.model
    return Answer(
        line.entry.at,
        line.entry.place,
        study_instance_uid=findings.subject.study_instance_uid,
        service=findings.service,
        sequence=findings.subject.sequence,
        summary=line.entry.what,
        outward=findings.subject.outward,
        stands=stands,
        model=None if model is None else f"{model.name}/{model.version}",
        findings=len(findings.findings) if findings.locates else None,
        not_analysed=None if findings.not_analysed is None else findings.not_analysed.reason,
        after_verification=findings.verified_at is not None,
        replay=published.get(findings.analysis_id),
    )


def _question(line: Line[AnalysisRequested]) -> Answer:
    subject = line.value.subject
    return Answer(
        line.entry.at,
        line.entry.place,
        study_instance_uid=subject.study_instance_uid,
        service=CHEST_RADIOGRAPH_FINDINGS,
        sequence=subject.sequence,
        summary=line.entry.what,
        outward=subject.outward,
        stands=False,
        asked=True,
    )


def held_of(lines: Lines, answers: Sequence[Answer]) -> list[Held]:
    """The latest state that each destination had acknowledged of each study and service."""
    held: dict[tuple[str, str], tuple[DeliveryAcknowledged, Record]] = {}
    for line in of_kind(DeliveryAcknowledged, lines):
        event = line.value
        key = event.destination, event.study_instance_uid
        if key not in held or held[key][0].sequence < event.sequence:
            held[key] = event, line.record
    return [
        Held(
            record.timestamp,
            record.place,
            destination=destination,
            study_instance_uid=study,
            sequence=event.sequence,
            outcome=event.outcome,
            acknowledgement=event.acknowledgement,
            behind=any(
                answer.sequence > event.sequence
                for answer in answers
                if answer.outward
                and not answer.asked
                and answer.study_instance_uid == study
                and place_of(destination.partition("#")[0], answer.service) == destination
            ),
        )
        for (destination, study), (event, record) in held.items()
    ]


def discrepancies_of(lines: Lines) -> list[Discrepant]:
    """Each as its last event that counts left it."""
    known: dict[UUID, acknowledging.Discrepancy] = {}
    last: dict[UUID, Record] = {}
    for line in lines:
        if line.record.place.topic == topics.DISCREPANCIES.name:
            before = {id: one.last for id, one in known.items()}
            acknowledging.folded(known, line.record)
            last |= {id: line.record for id, one in known.items() if before.get(id) is not one.last}
    return [
        Discrepant(last[id].timestamp, last[id].place, str(id), one.last.study_instance_uid, one.last.service, one.state)
        for id, one in known.items()
    ]


def dead_letters_of(lines: Lines) -> list[DeadLetter]:
    letters = [line.record for line in lines if line.record.place.topic == topics.DEAD_LETTERS.name]
    return [
        DeadLetter(
            record.timestamp,
            record.place,
            of="/".join(record.header(name) or "?" for name in ("topic", "partition", "offset")),
            step=record.header("step") or "?",
            error=record.header("error") or "?",
        )
        for record in letters
    ]

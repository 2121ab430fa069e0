"""Events as rows and back: their bytes, the digest by which each is kept once, and the text by which they are looked up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, func, inspect, select

from connectors.case_store.tables import (
    microseconds,
    order_changes,
    order_patients,
    orders,
    patient_words,
    patients,
    studies,
    study_patients,
)
from schemas.case_store import OrderNumber
from schemas.events import PATIENT_EVENTS, Event, OrderChanged, OrderEvent, PatientEvent, Sender
from schemas.identifiers import PatientIdentifier
from schemas.study_events import StudyCompleted

_T = TypeVar("_T")

#: SQLite allows 999 parameters and more; PostgreSQL 65,535
_AT_A_TIME = 300


def in_turns(keys: Iterable[_T]) -> Iterable[list[_T]]:
    """As many keys at a time as one statement takes."""
    listed = list(keys)
    return (listed[start : start + _AT_A_TIME] for start in range(0, len(listed), _AT_A_TIME))


def value_of(event: Event) -> bytes:
    return event.model_dump_json().encode("utf-8")


def digest_of(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def text_of(number: OrderNumber | PatientIdentifier | None) -> str | None:
    return None if number is None else number.text


def order_row(order: OrderEvent) -> dict[str, Any]:
    value = value_of(order)
    return {
        "digest": digest_of(value),
        "placer_order_number": text_of(order.placer_order_number),
        "filler_order_number": text_of(order.filler_order_number),
        "accession_number": text_of(order.accession_number),
        "event": value,
    }


def order_patient_rows(order: OrderEvent) -> list[dict[str, Any]]:
    digest = digest_of(value_of(order))
    return [{"patient": text_of(patient), "digest": digest} for patient in order.patients]


def order_replaced_rows(order: OrderEvent) -> list[dict[str, Any]]:
    digest = digest_of(value_of(order))
    numbers = {
        number
        for one in order.replaces
        for number in (one.placer_order_number, one.filler_order_number, one.accession_number)
        if number is not None
    }
    return [{"number": number, "digest": digest} for number in sorted(map(kind_and_text_of, numbers))]


def kind_and_text_of(number: OrderNumber) -> str:
    """The text of a number where all kinds stand together."""
    return f"{type(number).__name__} {number.text}"


def orders_where(connection: Connection, column: Column[Any], keys: Iterable[str]) -> dict[int, OrderEvent]:
    """The order events whose `column` holds any of the keys, by arrival."""
    found: dict[int, OrderEvent] = {}
    for some in in_turns(keys):
        query = select(orders.c.arrival, orders.c.event, order_changes.c.digest)
        query = query.outerjoin_from(orders, order_changes, orders.c.digest == order_changes.c.digest).where(column.in_(some))
        for arrival, event, change in connection.execute(query):
            found[arrival] = (OrderEvent if change is None else OrderChanged).model_validate_json(event)
    return found


def patient_row(event: PatientEvent) -> dict[str, Any]:
    value = value_of(event)
    return {
        "digest": digest_of(event.TYPE.encode("ascii") + value),
        "type": event.TYPE,
        "says": _says(event),
        "rank": _rank(event.sender),
        "event": value,
    }


def patient_word_rows(event: PatientEvent) -> list[dict[str, Any]]:
    return [{"patient": text, "says": _says(event)} for text in sorted(filter(None, map(text_of, event.named)))]


def patient_events_of(connection: Connection, patients_named: Iterable[str]) -> dict[int, PatientEvent]:
    """The newest event of each word that names any of the patients, by arrival."""
    found: dict[int, PatientEvent] = {}
    for some in in_turns(patients_named):
        place = func.row_number().over(partition_by=patients.c.says, order_by=(patients.c.rank.desc(), patients.c.arrival.desc()))
        named = select(patient_words.c.says).where(patient_words.c.patient.in_(some))
        ranked = select(patients.c.arrival, place.label("place")).where(patients.c.says.in_(named)).subquery()
        query = select(patients.c.arrival, patients.c.type, patients.c.event).join(ranked, patients.c.arrival == ranked.c.arrival)
        for arrival, type, event in connection.execute(query.where(ranked.c.place == 1)):
            found[arrival] = PATIENT_EVENTS[type].model_validate_json(event)
    return found


def study_row(completed: StudyCompleted) -> dict[str, Any]:
    value = value_of(completed)
    return {
        "digest": digest_of(value),
        "study_instance_uid": completed.study_instance_uid,
        "accession_number": text_of(completed.accession_number),
        "event": value,
    }


def study_patient_rows(completed: StudyCompleted) -> list[dict[str, Any]]:
    patient = text_of(completed.patient)
    return [] if patient is None else [{"patient": patient, "study_instance_uid": completed.study_instance_uid}]


def tables_older_than_patients(connection: Connection) -> bool:
    """Whether the database was made before its orders and studies could be found by their patients."""
    names = inspect(connection).get_table_names()
    return orders.name in names and order_patients.name not in names


def find_by_patients(connection: Connection) -> None:
    """Fill the look-ups of such a database, from the events it holds."""
    told = (OrderEvent.model_validate_json(event) for event in connection.scalars(select(orders.c.event)).all())
    of_orders = [row for order in told for row in order_patient_rows(order)]
    done = (StudyCompleted.model_validate_json(event) for event in connection.scalars(select(studies.c.event)).all())
    of_studies = {(row["patient"], row["study_instance_uid"]): row for study in done for row in study_patient_rows(study)}
    for table, rows in ((order_patients, of_orders), (study_patients, list(of_studies.values()))):
        if rows:
            connection.execute(table.insert(), rows)


def _says(event: PatientEvent) -> str:
    lists = [[[one.value, one.assigner] for one in listed] for listed in event.identifier_lists]
    return digest_of(json.dumps([event.sender.key, event.TYPE, lists]).encode("ascii"))


def _rank(sender: Sender) -> str:
    """Rule 8 as text: the time in 20 digits (it may lie before 1970), then MSH-13, of any length, behind its length."""
    number = "" if sender.sequence_number is None else str(sender.sequence_number)
    return f"{microseconds(sender.occurred_at) + 2**62:020d}" + (f"{len(number):04d}{number}" if number else "")

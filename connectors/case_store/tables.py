"""The tables. Correlation tables belong to `correlate` alone, `timeline` to `project` alone (rule 4).

Events are kept as their JSON bytes; beside them only what is looked up. Moments are whole microseconds since 1970 UTC: exact
in both databases, and in order.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, UniqueConstraint

metadata = MetaData()

#: SQLite counts only an INTEGER PRIMARY KEY by itself
COUNTER = BigInteger().with_variant(Integer(), "sqlite")

#: the rows that are locked (rule 3)
cases = Table("cases", metadata, Column("case", String, primary_key=True))

#: every order event once: `digest` is that of its bytes, `arrival` the order of first arrival
orders = Table(
    "orders",
    metadata,
    Column("arrival", COUNTER, primary_key=True, autoincrement=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("placer_order_number", String, index=True),
    Column("filler_order_number", String, index=True),
    Column("accession_number", String, index=True),
    Column("event", LargeBinary, nullable=False),
)

#: those order events that changed an order (ORC-1 XO, SC ...): the bytes of an event do not say of which class it is
order_changes = Table("order_changes", metadata, Column("digest", String(64), primary_key=True))

#: by the numbers of which other orders an order event is found: of those that it replaces (ORC-1 RO)
order_replaced = Table(
    "order_replaced",
    metadata,
    Column("number", String, primary_key=True),
    Column("digest", String(64), primary_key=True),
)

#: by which patients an order event is found
order_patients = Table(
    "order_patients",
    metadata,
    Column("patient", String, primary_key=True),
    Column("digest", String(64), primary_key=True),
)

#: every patient event once; `says`: digest of sender, class and identifiers, the same for all events that say the same again;
#: `rank`: which of these is the newest, as text that sorts
patients = Table(
    "patients",
    metadata,
    Column("arrival", COUNTER, primary_key=True, autoincrement=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("type", String, nullable=False),
    Column("says", String(64), nullable=False),
    Column("rank", String, nullable=False),
    Column("event", LargeBinary, nullable=False),
    Index("ix_patients_says", "says"),
)

#: by which identifiers what was said of patients is found
patient_words = Table(
    "patient_words",
    metadata,
    Column("patient", String, primary_key=True),
    Column("says", String(64), primary_key=True),
)

#: every StudyCompleted once
studies = Table(
    "studies",
    metadata,
    Column("arrival", COUNTER, primary_key=True, autoincrement=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("study_instance_uid", String(64), nullable=False, index=True),
    Column("accession_number", String, index=True),
    Column("event", LargeBinary, nullable=False),
)

#: by which patients a study is found
study_patients = Table(
    "study_patients",
    metadata,
    Column("patient", String, primary_key=True),
    Column("study_instance_uid", String(64), primary_key=True),
)

#: the state of each study as last told
told = Table(
    "told",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("identity", String, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("topic", String, nullable=False),
    Column("value", LargeBinary, nullable=False),
)

#: the event that made it so; none for a timer
told_because = Table(
    "told_because",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("event", String(36), nullable=False, index=True),
)

#: which services have, or are to have, a report of a study beside the usual one
services = Table(
    "services",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("service", String(64), primary_key=True),
)

#: studies told without an order, and the moment of the first that was told of each
without_order = Table(
    "without_order",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("at", BigInteger, nullable=False, index=True),
)

due = Table(
    "due",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("reason", String, nullable=False),
    Column("case", String, nullable=False),
    Column("not_before", BigInteger, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("step", String, nullable=False),
    # the parked record; all null for a timer
    Column("topic", String),
    Column("partition", Integer),
    Column("offset", BigInteger),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", LargeBinary),
    Column("timestamp", BigInteger),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("destination", String, primary_key=True),
    Column("study_instance_uid", String(64), primary_key=True),
    Column("analysis_id", String(36), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("acknowledgement", String, nullable=False),
)

#: what each analysis said first: `analyse` alone writes here
analyses = Table(
    "analyses",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

positions = Table(
    "positions",
    metadata,
    Column("source", String, primary_key=True),
    Column("position", String, nullable=False),
)

#: `sequence` is what the page reads on from (rule 14)
timeline = Table(
    "timeline",
    metadata,
    Column("sequence", COUNTER, primary_key=True, autoincrement=True),
    Column("topic", String, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("type", String, nullable=False),
    Column("what", String, nullable=False),
    Column("study_instance_uid", String(64), index=True),
    # value^assigner, and the value alone: what a person types
    Column("accession_number", String, index=True),
    Column("accession_value", String, index=True),
    UniqueConstraint("topic", "partition", "offset"),
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Since 1970 UTC. Raises TypeError for a moment without a time zone."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(microseconds: int) -> datetime:
    """The same moment again, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)

"""The tables of answers heard, reports, recalled models and discrepancies: of the correlation tables (rule 4)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table

from connectors.case_store.tables import COUNTER, metadata

#: every report event once: `digest` is that of its type and bytes, `arrival` the order of first arrival. Placer and
#: filler number only where it can be found by them: it has no accession number of its own
reports = Table(
    "reports",
    metadata,
    Column("arrival", COUNTER, primary_key=True, autoincrement=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("type", String, nullable=False),
    Column("placer_order_number", String, index=True),
    Column("filler_order_number", String, index=True),
    Column("accession_number", String, index=True),
    Column("event", LargeBinary, nullable=False),
)

#: what each service said of each state of a study, first
heard = Table(
    "heard",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("service", String(64), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("analysis_id", String(36), primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("came_at", BigInteger, nullable=False),
    Column("model_name", String),
    Column("model_version", String),
    Column("verified_at", BigInteger),
    Column("because", String(36)),
    Column("place", String),
    Column("traceparent", String),
    Index("ix_heard_model", "model_name", "model_version", "study_instance_uid"),
)

recalled_models = Table(
    "recalled_models",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("event", LargeBinary, nullable=False),
)

discrepancies = Table(
    "discrepancies",
    metadata,
    Column("discrepancy_id", String(36), primary_key=True),
    Column("study_instance_uid", String(64), nullable=False, index=True),
    Column("service", String(64), nullable=False),
    Column("analysis_id", String(36), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("event", LargeBinary, nullable=False),
    Column("withdrawn_by", String(36)),
    Column("withdrawn_sequence", Integer, nullable=False),
)

#: apart from these, for an acknowledgement may be read before what it acknowledges
acknowledged_discrepancies = Table("acknowledged_discrepancies", metadata, Column("discrepancy_id", String(36), primary_key=True))

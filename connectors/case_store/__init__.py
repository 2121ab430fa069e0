"""The case store: SQLAlchemy Core on SQLite by default, on PostgreSQL when several machines share it."""

from connectors.case_store.store import SqlCaseStore

__all__ = ["SqlCaseStore"]

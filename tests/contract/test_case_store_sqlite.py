"""The case store on SQLite, the default."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from connectors.case_store import SqlCaseStore, database
from schemas.errors import SettingsInvalid, StoreUnavailable
from tests.contract.case_store import CaseStoreContract
from tests.contract.due_items import a_timer
from tests.contract.hearings import STUDY, spoken


class TestSqlite(CaseStoreContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'new folder' / 'cases.db'}"


async def test_whether_a_transaction_is_alone(tmp_path: Path) -> None:
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    async with store.correlation("a") as rows:
        assert rows.locks_everything is True
    await store.close()


async def test_a_lock_that_is_never_released_is_a_store_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT_S", 0.3)
    file = tmp_path / "cases.db"
    store = SqlCaseStore(f"sqlite:///{file}")
    await store.put_due(a_timer("before"))
    hog = sqlite3.connect(file, isolation_level=None)
    hog.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await store.put_due(a_timer("now"))
    with pytest.raises(StoreUnavailable):
        async with store.correlation("a"):
            pytest.fail("the lock was given twice")
    assert await store.position("readers go on") is None
    hog.execute("ROLLBACK")
    hog.close()
    await store.put_due(a_timer("now"))
    await store.close()


async def test_what_was_heard_at_what_is_no_place_is_not_taken_for_one(tmp_path: Path) -> None:
    file = tmp_path / "cases.db"
    store = SqlCaseStore(f"sqlite:///{file}")
    async with store.correlation("a") as rows:
        await rows.put_heard(spoken())
    with sqlite3.connect(file) as damaged:
        damaged.execute("UPDATE heard SET place = 'ai.results/0/-1'")
    damaged.close()
    with pytest.raises(ValueError, match=r"heard\.place"):
        async with store.correlation("a") as rows:
            await rows.heard_of(STUDY)
    await store.close()


async def test_a_file_that_is_no_database_says_so_without_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT_S", 0.3)
    file = tmp_path / "cases.db"
    file.write_bytes(b"DOE^JANE" * 1000)
    store = SqlCaseStore(f"sqlite:///{file}")
    with pytest.raises(StoreUnavailable) as caught:
        await store.position("x")
    assert "DOE" not in str(caught.value)
    await store.close()


async def test_a_store_that_could_not_be_opened_opens_later(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"")
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'folder' / 'cases.db'}")
    with pytest.raises(StoreUnavailable):
        await store.position("x")
    (tmp_path / "folder").unlink()
    assert await store.position("x") is None
    await store.close()


async def test_commits_survive_the_power(tmp_path: Path) -> None:
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    settings = await store._database.read(
        lambda connection: [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    )
    assert settings == ["wal", 2]  # 2: FULL
    await store.close()


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///:memory:", "mysql://host/db", "cases.db"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(SettingsInvalid):
        SqlCaseStore(url)

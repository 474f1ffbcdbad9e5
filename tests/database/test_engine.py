"""Database: migrations make the schema the code knows; one thread, shared commits, faults kept apart."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from relay.config import Settings
from relay.database import Database
from relay.database.schema import metadata
from relay.errors import ConfigError, RelayError
from relay.secret import Secret


def _insert(name: str) -> Callable[[sa.Connection], object]:
    statement = sa.text(
        "INSERT INTO recordings (id, channel, state, started_at, base_ms) VALUES (:name, 'c', 'complete', 0, 0)"
    )
    return lambda connection: connection.execute(statement, {"name": name})


async def test_migrations_and_metadata_agree(database: Database) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    assert await database.run(differences) == []


async def test_sqlite_is_durable_and_checks_references(database: Database) -> None:
    def pragma(name: str) -> Callable[[sa.Connection], object]:
        return lambda connection: connection.execute(sa.text(f"PRAGMA {name}")).scalar()

    assert await database.run(pragma("journal_mode")) == "wal"
    assert await database.run(pragma("synchronous")) == 2
    assert await database.run(pragma("foreign_keys")) == 1


async def test_one_callers_fault_does_not_undo_its_neighbours(database: Database) -> None:
    results = await asyncio.gather(
        *(database.run(_insert(name)) for name in ("a", "b", "a", "c")), return_exceptions=True
    )
    assert [isinstance(result, sa.exc.IntegrityError) for result in results] == [False, False, True, False]
    names = await database.run(
        lambda connection: connection.execute(sa.text("SELECT id FROM recordings")).scalars().all()
    )
    assert sorted(names) == ["a", "b", "c"]


async def test_state_outlives_a_restart(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    first = Database(settings)
    await first.channels.create("demo", Secret("k" * 32), Secret("r" * 32), {})
    first.close()
    second = Database(settings)
    rows = await second.channels.all()
    second.close()
    assert [(row.name, row.stream_key) for row in rows] == [("demo", Secret("k" * 32))]


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot open the database"):
        Database(Settings(data_dir=tmp_path, database="sqlite:////nowhere/at/all.db"))


def test_a_database_of_a_later_relay_and_a_wrong_url_are_told_apart(tmp_path: Path) -> None:
    database = Database(Settings(data_dir=tmp_path))
    database.submit(lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'")))
    database.close()
    with pytest.raises(ConfigError, match="another version"):
        Database(Settings(data_dir=tmp_path))
    with pytest.raises(ConfigError, match="not a URL"):
        Database(Settings(data_dir=tmp_path, database="somewhere"))
    with pytest.raises(ConfigError, match="pip install") as missing:
        Database(Settings(data_dir=tmp_path, database="mysql+mysqldb://me:hunter2@h/d"))
    assert "hunter2" not in str(missing.value)


async def test_what_waits_together_shares_one_commit(database: Database) -> None:
    commits: list[int] = []
    sa.event.listen(database._engine, "commit", lambda connection: commits.append(1))
    written = threading.Event()
    database.submit(lambda connection: written.wait(10))
    calls = [asyncio.ensure_future(database.run(_insert(str(number)))) for number in range(100)]
    await asyncio.sleep(0)
    path = str(database._engine.url.database)
    written.set()
    await asyncio.gather(*calls)
    assert len(commits) <= 2
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM recordings").fetchone() == (100,)
    other.close()


async def test_a_transaction_is_one_until_its_commit(database: Database) -> None:
    """Others see nothing of work under way: the driver must not commit at savepoints."""
    path = str(database._engine.url.database)
    inserted, seen = threading.Event(), threading.Event()

    def hold(connection: sa.Connection) -> None:
        inserted.set()
        assert seen.wait(10)

    blocker = threading.Event()
    database.submit(lambda connection: blocker.wait(10))
    calls = [asyncio.ensure_future(database.run(work)) for work in (_insert("a"), hold)]
    await asyncio.sleep(0)
    blocker.set()
    await asyncio.to_thread(inserted.wait, 10)
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM recordings").fetchone() == (0,)
    other.close()
    seen.set()
    await asyncio.gather(*calls)


async def test_a_cancelled_call_does_not_happen_and_stops_nobody_else(database: Database) -> None:
    blocker = threading.Event()
    database.submit(lambda connection: blocker.wait(10))
    cancelled = asyncio.ensure_future(database.run(_insert("cancelled")))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    blocker.set()
    await asyncio.wait_for(database.run(_insert("kept")), 10)
    names = await database.run(
        lambda connection: connection.execute(sa.text("SELECT id FROM recordings")).scalars().all()
    )
    assert names == ["kept"]


def test_after_closing_it_says_so(tmp_path: Path) -> None:
    database = Database(Settings(data_dir=tmp_path))
    last = database.submit(_insert("last"))
    database.close()
    assert last.done()
    with pytest.raises(RelayError, match="closed"):
        database.submit(_insert("too late"))


def test_files_of_the_database_are_for_its_owner_only(tmp_path: Path) -> None:
    database = Database(Settings(data_dir=tmp_path))
    database.submit(_insert("a")).result()
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    database.close()
    assert modes == dict.fromkeys(["relay.db", "relay.db-shm", "relay.db-wal", "secret.key"], 0o600)

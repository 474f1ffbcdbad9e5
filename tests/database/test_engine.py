"""Database: migrations make the schema the code knows; one thread, shared commits, faults kept apart."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from relay.config import Settings
from relay.database import Database
from relay.database.schema import metadata
from relay.errors import ConfigError
from relay.secret import Secret


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
    def insert(name: str) -> Callable[[sa.Connection], object]:
        statement = sa.text(
            "INSERT INTO recordings (id, channel, state, started_at, base_ms) VALUES (:name, 'c', 'complete', 0, 0)"
        )
        return lambda connection: connection.execute(statement, {"name": name})

    results = await asyncio.gather(
        *(database.run(insert(name)) for name in ("a", "b", "a", "c")), return_exceptions=True
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

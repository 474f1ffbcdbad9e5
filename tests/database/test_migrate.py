"""Migrations lead from every earlier schema to the one a new database is made with."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from relay.config import Settings
from relay.database import Database
from relay.database.migrate import _MIGRATIONS
from relay.database.schema import VERSION, metadata


def config(connection: sa.Connection | None = None) -> Config:
    made = Config()
    made.set_main_option("script_location", str(_MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def test_the_schemas_version_is_that_of_the_last_migration() -> None:
    assert ScriptDirectory.from_config(config()).get_current_head() == VERSION


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0004"])
async def test_an_earlier_relays_database_is_brought_up_to_date(version: str, tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/relay.db")
    with engine.begin() as connection:
        command.upgrade(config(connection), version)
        connection.execute(
            sa.text(
                "INSERT INTO recordings (id, channel, state, started_at, base_ms) VALUES ('r', 'c', 'complete', 1, 0)"
            )
        )
    engine.dispose()
    database = Database(Settings(data_dir=tmp_path))
    differences = await database.run(
        lambda connection: compare_metadata(MigrationContext.configure(connection), metadata)
    )
    assert differences == []
    assert (await database.recordings.get("r")).ended_cleanly
    database.close()

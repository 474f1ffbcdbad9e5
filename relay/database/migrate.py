"""Migrate: brings the schema of an earlier relay up to date. Imported only where one is found: Alembic is not small."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from relay.errors import ConfigError

_MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(connection: sa.Connection) -> None:
    """Run the migrations that are missing, in the transaction of ``connection``. Raises ConfigError."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigError(f"the database was made by another version of the relay, start that one: {error}") from error

"""A fresh SQLite database for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.config import Settings
from relay.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(Settings(data_dir=tmp_path))
    yield database
    database.close()

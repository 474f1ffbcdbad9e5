"""A data directory as a relay leaves it, for commands that need no relay."""

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.archive.conftest import CLIP
from tests.archive.house import record
from tests.archive.media import read_packets
from tests.support import clips


@pytest.fixture(scope="session")
def _recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("recorded")
    asyncio.run(record(data_dir, read_packets(clips.make(CLIP))))
    return data_dir


@pytest.fixture
def data(_recorded: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil: one finished recording of channel ``talk``, database, key and store."""
    return Path(shutil.copytree(_recorded, tmp_path / "data"))


@pytest.fixture
def recording(data: Path) -> Path:
    """The recording's folder in the store."""
    [found] = (data / "archive" / "talk").iterdir()
    return found

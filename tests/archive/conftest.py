"""A whole archive to test with, and a real clip for it."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.archive.signing import KEY_FILE, Signer
from relay.config import ArchiveSettings, Settings
from relay.media import Packet
from tests.archive.house import House, record
from tests.archive.media import read_packets
from tests.support import clips
from tests.support.clips import Clip

CLIP = Clip("unit-archive", (*clips.H264_B.video,), clips.H264.audio, 8)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = await House(Settings(data_dir=tmp_path / "data", archive=ArchiveSettings(segment_s=2))).start()
    yield house
    await house.stop()


@pytest.fixture(scope="session")
def packets() -> list[Packet]:
    """8 s of H.264 with B-frames and AAC."""
    return read_packets(clips.make(CLIP))


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory, packets: list[Packet]) -> Path:
    """A data directory with one finished recording, its database and spool: 8 s, a gap of 3 s, 8 s."""
    data_dir = tmp_path_factory.mktemp("kept")
    asyncio.run(record(data_dir, packets))
    return data_dir


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    """A copy of that recording's stored folder, to spoil, somewhere else and by another name."""
    [found] = (kept / "archive" / "talk").iterdir()
    return Path(shutil.copytree(found, tmp_path / "copy"))


@pytest.fixture(scope="session")
def signer(kept: Path) -> Signer:
    """The key it is signed with."""
    return Signer(kept / KEY_FILE)

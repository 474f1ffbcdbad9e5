"""A whole archive to test with, and a real clip for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.config import ArchiveSettings, Settings
from relay.media import Packet
from tests.archive.house import House
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

"""A running relay for tests of its doors."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.app import App
from tests.support.app import running_app


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    limits = {"handshake_s": 0.6, "first_media_s": 1.0, "media_stalled_s": 0.6, "media_closed_s": 1.6}
    async with running_app(tmp_path, limits=limits, archive={"store": "off"}) as app:
        yield app

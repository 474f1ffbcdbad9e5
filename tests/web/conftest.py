"""One running relay and a browser for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.app import App
from tests.support.app import Browser, browsing, running_app


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running_app(tmp_path) as app:
        yield app


@pytest.fixture
async def browser(app: App) -> AsyncIterator[Browser]:
    async with browsing(app) as browser:
        yield browser

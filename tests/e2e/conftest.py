"""Real relays for the end-to-end tests; everything here carries the e2e mark."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.process import Processes
from tests.support.relay import Relay

Start = Callable[..., Awaitable[Relay]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(300))


@pytest.fixture
async def start_relay(processes: Processes, tmp_path: Path) -> AsyncIterator[Start]:
    """Start relays, each with its own name and settings; at the end each must stop quietly within 10 s."""
    started: list[Relay] = []

    async def start(name: str = "relay", **settings: object) -> Relay:
        relay = Relay(processes, tmp_path / name, name, **settings)
        started.append(relay)
        await relay.start()
        return relay

    yield start
    for relay in started:
        if relay.process is not None and relay.process.running:
            await relay.stop()


@pytest.fixture
async def relay(start_relay: Start) -> Relay:
    """One relay on its defaults, destinations on private addresses allowed."""
    return await start_relay()

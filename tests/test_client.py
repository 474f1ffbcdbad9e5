"""The command line's client: the relay's own words when it refuses, and what to do when it is not there."""

import asyncio
from pathlib import Path

import pytest

from relay.client import Client
from relay.config import Settings
from relay.errors import RelayError
from tests.support.app import running_app


async def test_calls_with_the_token_of_the_data_directory(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        settings = Settings.model_validate({"data_dir": tmp_path, "http": {"listen": f"127.0.0.1:{app.web.port}"}})
        client = Client(settings)
        answer = await asyncio.to_thread(client.call, "POST", "/channels", {"name": "rally"})
        assert answer["name"] == "rally"
        assert await asyncio.to_thread(client.call, "DELETE", "/channels/rally") is None
        with pytest.raises(RelayError, match="no channel rally"):
            await asyncio.to_thread(client.call, "GET", "/channels/rally")
        wrong = Client(settings, token="wrong")
        with pytest.raises(RelayError, match=r"admin\.token"):
            await asyncio.to_thread(wrong.call, "GET", "/channels")


def test_without_a_relay_it_says_how_to_start_one(tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text("t")
    with pytest.raises(RelayError, match="scripts/start"):
        Client(Settings(data_dir=tmp_path), "http://127.0.0.1:9").call("GET", "/channels")


def test_without_a_token_it_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(RelayError, match="RELAY_DATA_DIR"):
        Client(Settings(data_dir=tmp_path / "none")).call("GET", "/channels")

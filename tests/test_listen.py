"""Listening: a port that is taken is told by the setting it comes from."""

import asyncio

import pytest

from relay.errors import ConfigError
from relay.listen import Quiet, listen


async def test_a_listener_gives_its_port_and_a_taken_one_names_its_setting() -> None:
    words = {"what": "tests", "setting": "rtmp.tls_listen", "handshake_s": 1.0}
    server, port = await listen(asyncio.Protocol, "127.0.0.1:0", None, **words)  # type: ignore[arg-type]
    async with server:
        assert server.sockets[0].getsockname()[1] == port > 0
        with pytest.raises(ConfigError, match=r"cannot listen for tests .*RELAY_RTMP__TLS_LISTEN .*rtmp\.tls_listen"):
            await listen(asyncio.Protocol, f"127.0.0.1:{port}", None, **words)  # type: ignore[arg-type]


def test_a_quiet_logger_takes_anything() -> None:
    assert Quiet().exception("words", 1, exc_info=True) is None

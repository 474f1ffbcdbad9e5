"""The RTMP door: where it listens, RTMPS with a real certificate, limits on connections, a shutdown that tells."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest
import structlog

from relay.app import App
from relay.errors import ConfigError
from tests.support.app import running_app
from tests.support.clips import H264, make
from tests.support.publisher import Publisher
from tests.support.tls import make_certificates


def publish_url(app: App, scheme: str = "rtmp") -> str:
    port = app.ingest.ports[0 if scheme == "rtmp" else 1]
    return f"{scheme}://127.0.0.1:{port}/live/{app.control.channel('demo').stream_key}"


async def test_rtmps_publishes_like_rtmp(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    rtmp = {
        "listen": "127.0.0.1:0",
        "tls_listen": "127.0.0.1:0",
        "tls_certificate": certificates.certificate,
        "tls_key": certificates.key,
    }
    clip = await asyncio.to_thread(make, H264)
    trusted = ssl.create_default_context(cafile=str(certificates.authority))
    trusted.check_hostname = False
    async with running_app(tmp_path / "data", rtmp=rtmp, archive={"store": "off"}) as app:
        async with Publisher(publish_url(app, "rtmps"), tls=trusted) as publisher:
            await publisher.send(clip, speed=None)
            deadline = asyncio.get_running_loop().time() + 10
            while app.hub.stream("demo").seq < len(publisher.sent.items):
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.02)
            info = app.links.publisher("demo")
            assert info is not None
            assert (info.protocol, info.encrypted) == ("rtmps", True)
        assert app.hub.stream("demo").seq == len(publisher.sent.items)


async def test_a_taken_port_is_named(app: App, tmp_path: Path) -> None:
    taken = f"127.0.0.1:{app.ingest.ports[0]}"
    with pytest.raises(ConfigError, match="RELAY_RTMP__LISTEN"):
        async with running_app(tmp_path / "other", rtmp={"listen": taken}):
            pass


async def test_one_connection_too_many_is_closed_at_the_door_and_counted(tmp_path: Path) -> None:
    async with running_app(tmp_path, limits={"connections_per_address": 1}, archive={"store": "off"}) as app:
        port = app.ingest.ports[0]
        _, first = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.1)
        reader, second = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionResetError):  # a plain end is as good
            assert await reader.read(1) == b""
        assert app.ingest.stats.limit_hits["connections_per_address"] == 1
        assert app.ingest.stats.open == 1
        first.close()
        second.close()


async def test_a_shutdown_tells_publishers_why(tmp_path: Path) -> None:
    clip = await asyncio.to_thread(make, H264)
    async with running_app(tmp_path, archive={"store": "off"}) as app:
        publisher = Publisher(publish_url(app))
        await publisher.open()
        await publisher.send(clip, speed=None, until_ms=500)
        await asyncio.sleep(0.3)
    deadline = asyncio.get_running_loop().time() + 5
    while publisher.ended is None:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)
    assert "shutting down" in publisher.ended
    await publisher.abort()


async def test_a_publisher_that_vanishes_and_returns_is_in_the_log_once_each(tmp_path: Path) -> None:
    clip = await asyncio.to_thread(make, H264)
    loop = asyncio.get_running_loop()
    async with running_app(tmp_path, archive={"store": "off"}) as app:
        with structlog.testing.capture_logs() as logs:
            for _ in range(2):
                publisher = Publisher(publish_url(app))
                await publisher.open()
                await publisher.send(clip, speed=None)
                deadline = loop.time() + 20
                while app.control.channel("demo").state != "live":
                    assert loop.time() < deadline
                    await asyncio.sleep(0.02)
                await publisher.abort()
                deadline = loop.time() + 20
                while app.control.channel("demo").state != "holding":
                    assert loop.time() < deadline
                    await asyncio.sleep(0.02)
    told = [item["event"] for item in logs if item["event"].startswith(("holding", "media is back"))]
    holding = "holding: no media from the publisher"
    assert told == [holding, "media is back", holding]

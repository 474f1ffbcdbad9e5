"""The wire: however little a peer sends at a time, or however much, it gets its share and the others theirs."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from relay.app import App
from relay.ingest.rtmp_wire import AT_ONCE
from relay.protocol.rtmp.chunk import write_message
from tests.attack import peers
from tests.ingest.test_rtmp import publish_url
from tests.support.app import running_app
from tests.support.clips import H264, make
from tests.support.publisher import Publisher


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running_app(tmp_path, archive={"store": "off"}) as app:
        yield app


def port(app: App) -> int:
    return app.ingest.ports[0]


async def ended(made: socket.socket) -> bool:
    return await asyncio.to_thread(peers.is_closed, made, 10.0)


async def published(app: App) -> socket.socket:
    key = app.control.channel("demo").stream_key
    return await asyncio.to_thread(peers.publish, port(app), key)


async def test_empty_messages_end_a_stranger_and_hardly_cost_anything(app: App) -> None:
    made = await asyncio.to_thread(peers.dial, port(app))
    await asyncio.to_thread(peers.greet, made)
    with made, structlog.testing.capture_logs() as told:
        began = time.thread_time()
        made.sendall(peers.CONNECT + write_message(7, 0, 0, b"", chunk_size=128, csid=5) + b"\xc5" * 60_000)
        assert await ended(made)
        took_s = time.thread_time() - began
    assert app.budget.hits["commands"] == 1
    assert [item["event"] for item in told] == ["connection ended"]
    assert took_s < 0.1, "reading all of them takes longer by an order of magnitude"


async def test_a_publisher_of_empty_messages_is_read_a_little_at_a_time(app: App) -> None:
    """Audio of no length: a byte each, free of any limit on commands. All are read, and never many at once."""
    with await published(app) as made:
        count = 20 * AT_ONCE
        at_once: list[int] = []
        connection = next(iter(app.ingest._connections))
        read = connection._connection.receive

        def receive(data: memoryview, now: float) -> list[object]:
            events = read(data, now)
            at_once.append(len(events))
            return list(events)

        connection._connection.receive = receive  # type: ignore[method-assign,assignment]
        made.sendall(write_message(8, 1, 0, b"", chunk_size=128, csid=5) + b"\xc5" * (count - 1))
        async with asyncio.timeout(30):
            while sum(at_once) < count:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
    assert sum(at_once) == count
    assert max(at_once) <= AT_ONCE


async def test_who_reads_no_answers_is_dropped_before_they_fill_the_memory(tmp_path: Path) -> None:
    limits = {"commands_burst": 1_000_000, "commands_per_s": 1_000_000, "first_media_s": 60, "connection_share": 1}
    rtmp = {"listen": "127.0.0.1:0", "tick_ms": 20}
    async with running_app(tmp_path, limits=limits, rtmp=rtmp, archive={"store": "off"}) as app:
        with await published(app) as made, structlog.testing.capture_logs() as told:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            pings = write_message(4, 0, 0, b"\x00\x06" + bytes(4), chunk_size=128, csid=2) * 4096
            async with asyncio.timeout(60):
                while not app.budget.hits["unread"]:
                    try:
                        made.send(pings)
                    except BlockingIOError:
                        await asyncio.sleep(0.02)
                    except ConnectionError:
                        break
        assert app.budget.hits["unread"] == 1
        reasons = [item["reason"] for item in told if item["event"] == "connection ended"]
        assert reasons == ["it does not read what it asked for"]


async def test_bytes_one_by_one_are_taken_and_their_share_is_kept(app: App) -> None:
    """Each costs a wake-up: after some hundred, they are left to gather."""
    reads = 0
    made = await asyncio.to_thread(peers.dial, port(app))
    with made:
        async with asyncio.timeout(10):
            while not app.ingest._connections:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        connection = next(iter(app.ingest._connections))
        receive = connection._connection.receive

        def counted(data: memoryview, now: float) -> object:
            nonlocal reads
            reads += 1
            return receive(data, now)

        connection._connection.receive = counted  # type: ignore[method-assign,assignment]
        for byte in peers.GREETING + peers.GREETING[1:] + peers.CONNECT:
            made.send(bytes((byte,)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            while connection._handshaken_at is None:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
    assert reads < 1500


async def test_an_hour_that_comes_at_once_is_taken_whole(app: App) -> None:
    """After an outage encoders send what they kept as fast as they can: it may wait, and is not lost."""
    clip = await asyncio.to_thread(make, H264)
    async with Publisher(publish_url(app)) as publisher:
        for turn in range(12):
            await publisher.send(clip, speed=None, offset_ms=turn * 12_100)
        async with asyncio.timeout(60):
            while app.hub.stream("demo").seq < len(publisher.sent.items):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
        assert app.hub.stream("demo").seq == len(publisher.sent.items) > 5 * AT_ONCE


async def test_bursts_are_read_at_ticks_and_only_silence_goes_back_to_the_poller(app: App) -> None:
    source = await asyncio.to_thread(make, H264)
    async with Publisher(publish_url(app)) as publisher:
        await publisher.send(source, speed=None, until_ms=1000)
        connection = next(iter(app.ingest._connections))
        transport = connection._transport
        assert transport is not None
        async with asyncio.timeout(10):
            while transport.is_reading():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        reading = []
        for number in range(6):
            for piece in range(3):
                publisher.send_tag(9, 1000 + 200 * number + 60 * piece, b"\x27\x01\0\0\0" + bytes(500))
                await asyncio.sleep(0.005)
            for _ in range(10):
                await asyncio.sleep(0.018)
                reading.append(transport.is_reading())
        assert reading.count(True) < len(reading) / 2, "a burst may come late on a busy machine"
        async with asyncio.timeout(10):
            while not transport.is_reading():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)

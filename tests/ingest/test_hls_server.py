"""Upload server: connections are counted and bounded, silent ones closed, whole uploads survive a hasty goodbye."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
from aiohttp import web

from relay.budget import SILENT_S, ConnectionBudget
from relay.config import LimitSettings
from relay.errors import ConfigError
from relay.ingest.hls_server import Listener, UploadConnection


class Door:
    """Answers with what it was sent, after ``wait``."""

    def __init__(self, **limits: float) -> None:
        self.bodies: list[bytes] = []
        self.wait = asyncio.Event()
        self.wait.set()
        self.asked = asyncio.Event()
        settings = LimitSettings.model_validate(limits)
        self.listener = Listener(settings, self._handle, ConnectionBudget(settings))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request.protocol, UploadConnection)
        request.protocol.heard()
        request.protocol.authenticated()
        self.asked.set()
        await self.wait.wait()
        self.bodies.append(await request.content.read())
        return web.Response(text=f"{len(self.bodies[-1])}")


@asynccontextmanager
async def door(**limits: float) -> AsyncIterator[Door]:
    made = Door(**limits)
    await made.listener.start("127.0.0.1:0", None)
    try:
        yield made
    finally:
        await made.listener.close(1.0)


PUT = b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"


async def test_requests_on_one_connection() -> None:
    async with door() as made:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.listener.port)
        for _ in range(3):
            writer.write(PUT)
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n5")
        assert (made.listener.open, made.listener.budget.total, made.listener.budget.unauthenticated) == (1, 1, 0)
        writer.close()
        async with asyncio.timeout(20):
            while made.listener.open:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        assert made.listener.budget.total == 0


async def test_a_client_that_does_not_wait_for_the_answer() -> None:
    """ffmpeg's HLS muxer closes as soon as it has sent."""
    async with door() as made:
        made.wait.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", made.listener.port)
        writer.write(PUT)
        await made.asked.wait()
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.1)
        made.wait.set()
        async with asyncio.timeout(20):
            while not made.bodies:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        assert made.bodies == [b"hello"]


async def test_one_that_sends_the_next_before_the_answer_and_goes() -> None:
    async with door() as made:
        made.wait.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", made.listener.port)
        writer.write(PUT + PUT.replace(b"hello", b"again") + PUT[:-1])
        await made.asked.wait()
        writer.transport.abort()
        await asyncio.sleep(0.1)
        made.wait.set()
        async with asyncio.timeout(20):
            while len(made.bodies) < 2:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert sorted(made.bodies) == [b"again", b"hello"]


async def test_a_cut_upload_is_no_upload() -> None:
    async with door() as made:
        _, writer = await asyncio.open_connection("127.0.0.1", made.listener.port)
        writer.write(PUT[:-1])
        await made.asked.wait()
        writer.close()
        async with asyncio.timeout(20):
            while made.listener.open:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        assert made.bodies == []


async def test_silence_and_too_many() -> None:
    async with door(http_deadline_s=0.2, connections_per_address=2) as made:
        first, second, third = [await asyncio.open_connection("127.0.0.1", made.listener.port) for _ in range(3)]
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionResetError):  # a plain end is as good
                assert await third[0].read() == b""
            assert made.listener.budget.hits == {"connections_per_address": 1}
            assert await first[0].read() == b"", "closed: it said nothing"
            second[1].write(b"PUT /x HT")
            assert await second[0].read() == b""
        for _, writer in (first, second, third):
            writer.close()


async def test_a_taken_port_is_named() -> None:
    async with door() as made:
        with pytest.raises(ConfigError, match="RELAY_INGEST_HTTP__LISTEN"):
            await Door().listener.start(f"127.0.0.1:{made.listener.port}", None)


async def test_each_connection_ends_in_one_line_and_a_stranger_makes_room() -> None:
    async with door(http_deadline_s=1.0, connections_unauthenticated=1) as made:
        with structlog.testing.capture_logs() as told:
            reader, writer = await asyncio.open_connection("127.0.0.1", made.listener.port)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            first, first_writer = await asyncio.open_connection("127.0.0.1", made.listener.port)
            await asyncio.sleep(SILENT_S + 0.1)
            reader, writer = await asyncio.open_connection("127.0.0.1", made.listener.port)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(first.read(), 10) == b""
            first_writer.close()
            writer.write(PUT)
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n5")
            writer.close()
            async with asyncio.timeout(20):
                while made.listener.open:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.01)
    assert [(item["event"], item["log_level"], item["reason"]) for item in told] == [
        ("upload connection ended", "info", "no whole request within 1 s"),
        ("upload connection ended", "info", "no key yet, and others need the place"),
        ("upload connection ended", "debug", "closed"),
    ]
    assert made.listener.budget.hits == {"http_headers": 1, "connections_unauthenticated": 1}

"""Ready: over the wire it is an answer like any other, on a connection that stays open."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from relay.web.ready import SECURITY, Ready


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async def handler(request: web.Request) -> web.StreamResponse:
        if not Ready.fits(request):
            return web.Response(text="plain", headers=SECURITY)
        return Ready(Ready.bytes_of(b"x" * 300_000, {"Content-Type": "video/mp4", "ETag": '"e"'}))

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def test_answers_follow_each_other_on_one_connection(address: str) -> None:
    ports = set()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        for _ in range(5):
            async with session.get(address) as response:
                assert response.connection is not None
                assert response.connection.transport is not None
                ports.add(response.connection.transport.get_extra_info("sockname"))
                assert await response.read() == b"x" * 300_000
                assert (response.status, response.content_type) == (200, "video/mp4")
                assert response.headers["ETag"] == '"e"'
                assert "Date" in response.headers
                for name, value in SECURITY.items():
                    assert response.headers[name] == value
    assert len(ports) == 1


async def test_who_closes_or_asks_for_the_head_gets_an_ordinary_answer(address: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(address, headers={"Connection": "close"}) as response:
            assert await response.text() == "plain"
        async with session.head(address) as response:
            assert response.status == 200

"""The HTTP client: every address is checked, named or literal, and failures are told in words."""

import asyncio
import gc
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from relay.config import Settings
from relay.errors import AddressError, DestinationError
from relay.outbound.dial import shared_tls
from relay.outbound.http import INTERIM_MOST, explain, http_session, http_url
from tests.egress.conftest import MakeSettings
from tests.support.hostile import Hostile, kind
from tests.support.hostile_http import HTTP_KINDS, answer
from tests.support.process import free_port

Fetch = Callable[[Settings, str], Awaitable[str]]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server on the loopback that answers everything with ``hello``, /away by a redirect."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/away":
            raise web.HTTPFound("http://169.254.169.254/")
        return web.Response(text="hello")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    number = free_port()
    await web.TCPSite(runner, "127.0.0.1", number).start()
    yield number
    await runner.cleanup()


async def fetch(settings: Settings, url: str) -> tuple[int, str]:
    where = http_url(url)
    async with http_session(settings) as session:
        try:
            async with session.get(where, allow_redirects=False) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError, DestinationError) as error:
            raise explain(error, f"{where.host}:{where.port}") from error


async def test_it_fetches_and_follows_nothing(make_settings: MakeSettings, port: int) -> None:
    settings = make_settings()
    assert await fetch(settings, f"http://127.0.0.1:{port}/") == (200, "hello")
    assert await fetch(settings, f"http://localhost:{port}/") == (200, "hello")
    assert (await fetch(settings, f"http://127.0.0.1:{port}/away"))[0] == 302


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254"])
async def test_a_private_address_is_never_dialled(make_settings: MakeSettings, port: int, host: str) -> None:
    with pytest.raises(AddressError, match=r"does not dial|never dials"):
        await fetch(make_settings(allow_private=False), f"http://{host}:{port}/")


async def test_cloud_metadata_is_never_dialled_though_private_addresses_may_be(make_settings: MakeSettings) -> None:
    with pytest.raises(AddressError, match="never dials"):
        await fetch(make_settings(allow_private=True), "http://169.254.169.254/latest/meta-data/")


@pytest.mark.parametrize(
    "text", ["file:///etc/passwd", "data:text/plain,x", "ftp://host/", "http://", "http:///x", "x", "http://h:99999/"]
)
def test_only_http_with_a_host_is_a_url(text: str) -> None:
    with pytest.raises(DestinationError):
        http_url(text)


async def test_failures_are_told_in_words(make_settings: MakeSettings) -> None:
    closed = free_port()
    with pytest.raises(DestinationError, match="cannot connect to") as refused:
        await fetch(make_settings(), f"http://127.0.0.1:{closed}/")
    assert refused.value.outcome == "connect"


async def test_a_host_that_is_none_is_told_as_one(make_settings: MakeSettings) -> None:
    with pytest.raises(AddressError, match="017700000001:80 is no host that can be dialled; check the URL"):
        await fetch(make_settings(), "http://017700000001/")


async def test_interim_answers_without_end_are_left_at_once(make_settings: MakeSettings) -> None:
    """Seen reading them for as long as the request might take, with a processor core to itself."""
    async with Hostile(HTTP_KINDS["endless interim answers"]) as server:
        began = time.process_time()
        with pytest.raises(DestinationError, match=r"the exchange with .* failed \(ServerConnectionError\)") as caught:
            await fetch(make_settings(), f"http://127.0.0.1:{server.port}/")
    assert caught.value.outcome == "closed"
    assert time.process_time() - began < 1


async def test_some_interim_answers_are_passed_over(make_settings: MakeSettings) -> None:
    interim = b"HTTP/1.1 102 Processing\r\n\r\n" * (INTERIM_MOST - 1)
    few = kind(answer(interim, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), "", "")
    async with Hostile(few) as server:
        assert await fetch(make_settings(), f"http://127.0.0.1:{server.port}/") == (200, "hi")


async def test_a_failed_handshake_is_let_go_without_the_collector(make_settings: MakeSettings) -> None:
    """Its buffers are large; and where a host fails again and again, circles of them would pile up."""
    settings = make_settings()

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.0 400 no\r\n\r\n")
        writer.close()

    def handshakes() -> int:
        return sum(isinstance(each, ssl.SSLObject) for each in gc.get_objects())

    async with (
        await asyncio.start_server(garbage, "127.0.0.1", 0) as server,
        http_session(settings, await shared_tls(settings)()) as session,
    ):
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        gc.collect()
        before = handshakes()
        gc.disable()
        try:
            for _ in range(5):
                try:
                    await session.get(url)
                except aiohttp.ClientError as error:
                    assert "cannot connect" in str(explain(error, "here"))  # noqa: PT017
            await asyncio.sleep(0.1)
            assert handshakes() == before
        finally:
            gc.enable()

"""One upload: what an answer means, and what a hostile one may cost."""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from yarl import URL

from relay.config import Settings
from relay.egress.hls_upload import RETRY_AFTER_MOST_S, upload
from relay.errors import AddressError, DestinationError, DestinationRejectedError
from relay.outbound.http import http_session
from tests.egress.conftest import MakeSettings
from tests.egress.servers import Converse, server
from tests.support.process import free_port

BODY = bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture
async def session(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    async with http_session(settings) as made:
        yield made


async def request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """One request: its first line, headers and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return first, headers, await reader.readexactly(int(headers["content-length"]))


def answers(*lines: str, body: bytes = b"") -> Converse:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
        await writer.drain()

    return converse


def at(url: str) -> URL:
    return URL(url.replace("rtmp:", "http:").replace("/app", "/up/the-key/a-1.ts"))


async def sent(session: aiohttp.ClientSession, converse: Converse, *, within_s: float = 10.0) -> None:
    async with server(converse) as url:
        await upload(session, "PUT", at(url), BODY, within_s)


async def test_what_is_sent_is_the_file_with_its_length_and_type(session: aiohttp.ClientSession) -> None:
    seen = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            seen.append(await request(reader))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with server(converse) as url:
        await upload(session, "PUT", at(url), BODY, 10)
        await upload(session, "POST", at(url).with_name("index.m3u8"), b"#EXTM3U\n", 10)
    (first, headers, body), (second, more, playlist) = seen
    assert first == "PUT /up/the-key/a-1.ts HTTP/1.1"
    assert (headers["content-type"], headers["content-length"]) == ("video/mp2t", str(len(BODY)))
    assert body == BODY
    assert second == "POST /up/the-key/index.m3u8 HTTP/1.1"
    assert (more["content-type"], playlist) == ("application/vnd.apple.mpegurl", b"#EXTM3U\n")


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204])
async def test_taken(session: aiohttp.ClientSession, status: int) -> None:
    await sent(session, answers(f"HTTP/1.1 {status} Fine"))


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(408, "timeout"), (425, "busy"), (429, "busy"), (500, "server_error"), (503, "server_error")],
)
async def test_to_be_tried_again(session: aiohttp.ClientSession, status: int, outcome: str) -> None:
    with pytest.raises(DestinationError, match=str(status)) as caught:
        await sent(session, answers(f"HTTP/1.1 {status} Later", "Retry-After: 7"))
    assert not isinstance(caught.value, DestinationRejectedError)
    assert (caught.value.outcome, caught.value.retry_after_s) == (outcome, 7.0)


LATER = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
EARLIER = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0", 0), ("99999999999999999999", RETRY_AFTER_MOST_S), pytest.param(LATER, RETRY_AFTER_MOST_S, id="later"),
     pytest.param(EARLIER, 0, id="earlier"), ("soon", 0),
     ("-5", 0), ("1e9", 0), ("", 0)],
)  # fmt: skip
async def test_how_long_a_platform_may_ask_for_is_bounded(
    session: aiohttp.ClientSession, written: str, seconds: float
) -> None:
    with pytest.raises(DestinationError) as caught:
        await sent(session, answers("HTTP/1.1 503 Later", f"Retry-After: {written}"))
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 405, 409, 410, 411, 413, 418, 206])
async def test_refused_for_good(session: aiohttp.ClientSession, status: int) -> None:
    with pytest.raises(DestinationRejectedError, match=f"answered {status}") as caught:
        await sent(session, answers(f"HTTP/1.1 {status} the-key", "Location: http://169.254.169.254/", body=b"the-key"))
    assert "the-key" not in str(caught.value)


async def test_a_redirect_is_not_followed(session: aiohttp.ClientSession) -> None:
    reached = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.read(100))

    port = free_port()
    async with await asyncio.start_server(elsewhere, "127.0.0.1", port):
        for status in (301, 302, 303, 307, 308):
            with pytest.raises(DestinationRejectedError, match="does not follow"):
                await sent(session, answers(f"HTTP/1.1 {status} Away", f"Location: http://127.0.0.1:{port}/x"))
    assert reached == []


async def test_a_private_address_is_not_dialled(make_settings: MakeSettings) -> None:
    async with http_session(make_settings(allow_private=False)) as session:
        with pytest.raises(AddressError, match="does not dial"):
            await sent(session, answers("HTTP/1.1 200 OK"))


async def test_an_answer_of_100_mb_costs_next_to_nothing(session: aiohttp.ClientSession) -> None:
    written = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while written < 100_000_000:
            writer.write(bytes(100_000))
            await writer.drain()
            written += 100_000

    tracemalloc.start()
    try:
        await sent(session, converse)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written < 20_000_000, "most of it was read"
    assert most < 8_000_000


async def test_a_header_without_end_is_refused(session: aiohttp.ClientSession) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(1000):
            writer.write(b"x" * 10_000)
            await writer.drain()

    with pytest.raises(DestinationError) as caught:
        await sent(session, converse)
    assert caught.value.outcome == "closed"


async def test_an_answer_that_trickles_ends_in_time(session: aiohttp.ClientSession) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    began = time.monotonic()
    with pytest.raises(DestinationError, match="in time") as caught:
        await sent(session, converse, within_s=1.0)
    assert caught.value.outcome == "timeout"
    assert time.monotonic() - began < 20


async def test_a_body_that_trickles_does_not_make_an_acceptance_wait(session: aiohttp.ClientSession) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    await sent(session, converse, within_s=20)


async def test_one_who_never_reads_is_given_up(session: aiohttp.ClientSession) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(1.5)

    async with server(converse) as url:
        with pytest.raises(DestinationError, match="in time"):
            await upload(session, "PUT", at(url), BODY * 8, 1.0)


@pytest.mark.parametrize(
    "said", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n"]
)
async def test_nonsense_is_tried_again(session: aiohttp.ClientSession, said: bytes) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(said)

    with pytest.raises(DestinationError) as caught:
        await sent(session, converse)
    assert caught.value.outcome == "closed"


async def test_a_connection_the_platform_closed_meanwhile_costs_nothing(session: aiohttp.ClientSession) -> None:
    """Between two segments many close: what is sent on a new connection is the whole file again."""
    bodies = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append((await request(reader))[2])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)

    async with server(converse) as url:
        for _ in range(4):
            await upload(session, "PUT", at(url), BODY, 10)
            await asyncio.sleep(0.098)
    assert bodies == [BODY] * 4


async def test_the_error_of_a_failed_upload_keeps_none_of_its_bytes(session: aiohttp.ClientSession) -> None:
    """Errors hold frames, and frames hold requests, until the collector comes: that may be a while."""
    errors = []
    url = URL(f"http://127.0.0.1:{free_port()}/up/a-1.ts")
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(10):
            with pytest.raises(DestinationError) as caught:
                await upload(session, "PUT", url, BODY, 5)
            errors.append(caught.value)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert len(errors) == 10
    assert kept < len(BODY)

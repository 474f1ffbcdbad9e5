"""Export over HTTP: who may, what is said beforehand, errors in words, and what ends when the client does."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from relay.app import App
from relay.archive.library import Library
from relay.errors import StoreError
from relay.media import Packet
from relay.protocol.mp4 import read_fragments
from tests.archive.conftest import CLIP
from tests.archive.media import batches, publish, read_packets, shifted
from tests.support import clips
from tests.support.app import Browser
from tests.support.probe import decode


@pytest.fixture(scope="module")
def packets() -> list[Packet]:
    return read_packets(clips.make(CLIP))


async def record(app: App, packets: list[Packet], times: int = 1) -> str:
    """The id of a complete recording of ``packets``, ``times`` one behind the other."""
    assert app.archive is not None
    lease, _ = publish(app.hub, "demo", packets)
    for number in range(1, times):
        await app.archive._committer.drain()
        for batch in batches(shifted(packets, number * (packets[-1].dts_ms + 40))):
            lease.write(batch)
    lease.release(clean=True)
    async with asyncio.timeout(40):
        while True:
            rows = await app.control.recordings.list("demo")
            if rows and rows[0].state == "complete":
                return rows[0].id
            await asyncio.sleep(0.05)


async def fetch(browser: Browser, path: str) -> tuple[bytes, "aiohttp.typedefs.CIMultiDictProxy[str]"]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(browser.base + path, headers={"Authorization": f"Bearer {browser.token}"}) as response,
    ):
        assert response.status == 200
        return await response.read(), response.headers


async def test_the_file_is_as_announced(app: App, browser: Browser, packets: list[Packet], tmp_path: Path) -> None:
    recording = await record(app, packets)
    path = f"/api/v1/recordings/{recording}/export.mp4"
    status, body, head = await browser.ask("HEAD", path)
    assert (status, body) == (200, "")
    content, headers = await fetch(browser, path)
    for asked in (head.headers, headers):
        assert asked["Content-Type"] == "video/mp4"
        assert asked["Content-Length"] == str(len(content))
        assert asked["Content-Disposition"] == f'attachment; filename="demo-{recording}.mp4"'
        assert float(asked["X-Export-Duration"]) == pytest.approx(8, abs=0.1)
        assert asked["X-Content-Type-Options"] == "nosniff"
    assert len(read_fragments(content)) == len(packets)
    file = tmp_path / "export.mp4"
    file.write_bytes(content)
    await decode(file)
    piece, headers = await fetch(browser, f"{path}?from=0:00:04&to=6.5")
    assert float(headers["X-Export-Duration"]) == pytest.approx(2.5, abs=0.1)
    assert len(piece) < len(content) / 2


async def test_signed_links_open_it_and_nothing_else_does(app: App, browser: Browser, packets: list[Packet]) -> None:
    recording = await record(app, packets)
    _, link, _ = await browser.ask("POST", f"/api/v1/recordings/{recording}/link")
    address = link["export_url"].removeprefix(browser.base)
    for method in ("GET", "HEAD"):
        assert (await browser.ask(method, address, token=""))[0] == 200
        assert (await browser.ask(method, f"{address}&from=2&to=3", token=""))[0] == 200
        assert (await browser.ask(method, address[:-1], token=""))[0] == 401
        assert (await browser.ask(method, address.partition("?")[0], token=""))[0] == 401


async def test_errors_name_the_recordings_range(app: App, browser: Browser, packets: list[Packet]) -> None:
    recording = await record(app, packets)
    path = f"/api/v1/recordings/{recording}/export.mp4"
    for query, words in (
        ("from=20", "outside the recording: it runs from 0 to 0:00:08"),
        ("to=2020-01-01T00:00:00Z", "outside the recording: it runs from 0"),
        ("from=5&to=4", "from=5 is not before to=4 in the recording: it runs from 0"),
        ("from=lunch", "from=lunch is no time; write seconds"),
    ):
        status, error, response = await browser.ask("GET", f"{path}?{query}")
        assert (status, response.content_type, error["error"]["code"]) == (422, "application/json", "invalid")
        assert words in error["error"]["message"]
    status, error, _ = await browser.ask("GET", "/api/v1/recordings/20260101T000000Z-000000/export.mp4")
    assert (status, error["error"]["code"]) == (404, "not_found")


Segment = Callable[..., Any]


async def test_what_fails_halfway_never_looks_whole(
    app: App, browser: Browser, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = await record(app, packets, 8)
    real: Segment = Library.segment
    asked = []

    async def failing(self: Library, row: Any, segment: Any, work: Any) -> Any:
        asked.append(segment.seq)
        if len(asked) > 6:
            raise StoreError("the store is away")
        return await real(self, row, segment, work)

    monkeypatch.setattr(Library, "segment", failing)
    with pytest.raises(aiohttp.ClientPayloadError):
        await fetch(browser, f"/api/v1/recordings/{recording}/export.mp4")
    asked.clear()
    asked.extend(range(10))
    status, error, _ = await browser.ask("GET", f"/api/v1/recordings/{recording}/export.mp4")
    assert (status, error["error"]["message"]) == (502, "the store is away")
    assert (await browser.ask("GET", "/healthz"))[0] == 200


async def test_a_client_that_stops_reading_stops_the_work(
    app: App, browser: Browser, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stalled client holds one segment and the socket's buffers, no more; one that is gone holds nothing."""
    recording = await record(app, packets, 24)
    real: Segment = Library.segment
    asked = []

    async def counted(self: Library, row: Any, segment: Any, work: Any) -> Any:
        asked.append(segment.seq)
        return await real(self, row, segment, work)

    monkeypatch.setattr(Library, "segment", counted)
    reader, writer = await asyncio.open_connection("127.0.0.1", app.web.port, limit=65536)
    path = f"/api/v1/recordings/{recording}/export.mp4"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {browser.token}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    size = int(re.findall(r"Content-Length: (\d+)", head)[0])
    assert size > 20_000_000
    before = -1
    async with asyncio.timeout(40):
        while len(asked) != before:
            before = len(asked)
            await asyncio.sleep(0.5)
    row = await app.control.recordings.get(recording)
    assert 2 < before < row.segments / 2, "the rest is not read before the client takes it"
    writer.transport.abort()
    await asyncio.sleep(0.5)
    assert len(asked) <= before + 1
    assert (await browser.ask("HEAD", path))[0] == 200


async def test_a_range_is_the_same_bytes_and_is_no_longer_given_of_another_file(
    app: App, browser: Browser, packets: list[Packet]
) -> None:
    recording = await record(app, packets, 3)
    path = f"/api/v1/recordings/{recording}/export.mp4"
    whole, headers = await fetch(browser, path)
    assert headers["Accept-Ranges"] == "bytes"
    tag, size = headers["ETag"], len(whole)

    async def ask(asked: str, if_range: str = "") -> tuple[int, bytes, str]:
        sent = {"Authorization": f"Bearer {browser.token}", "Range": asked}
        if if_range:
            sent["If-Range"] = if_range
        async with aiohttp.ClientSession() as session, session.get(browser.base + path, headers=sent) as response:
            return response.status, await response.read(), response.headers.get("Content-Range", "")

    places = (0, 1, 500, size // 3, size // 2, size - 1)
    for first in places:
        assert await ask(f"bytes={first}-", tag) == (206, whole[first:], f"bytes {first}-{size - 1}/{size}")
        last = min(first + 300_000, size - 1)
        assert await ask(f"bytes={first}-{last}") == (206, whole[first : last + 1], f"bytes {first}-{last}/{size}")
    assert await ask("bytes=-10") == (206, whole[-10:], f"bytes {size - 10}-{size - 1}/{size}")
    assert await ask(f"bytes=-{size * 2}") == (206, whole, f"bytes 0-{size - 1}/{size}")
    assert await ask("bytes=0-0", '"another"') == (200, whole, "")
    for other in ("bytes=5-4", "bytes=0-1,3-4", "bytes=-", "bytes=a-", "items=0-1", "bytes=" + "9" * 30 + "-"):
        assert await ask(other) == (200, whole, ""), other
    status, words, header = await ask(f"bytes={size}-")
    assert (status, b"ends before that" in words, header) == (416, True, f"bytes */{size}")
    _, _, piece = await browser.ask("HEAD", f"{path}?to=4")
    assert piece.headers["ETag"] != tag
    assert (await browser.ask("HEAD", path))[2].headers["ETag"] == tag

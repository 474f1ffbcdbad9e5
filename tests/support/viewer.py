"""Viewers of live playback: one that reads every part as a low-latency player does, and hundreds that only ask."""

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, cast
from urllib.parse import urljoin

import aiohttp
import uvloop

from relay.media import TrackKind
from relay.protocol import mp4
from tests.support.hls_rules import Playlist, Watch, expand
from tests.support.listing import Item, Listing, digest
from tests.support.process import Process, Processes


class Viewer:
    """Follows one rendition from its first segment to its end by blocking reloads, checking each playlist.

    ``listing`` is what the parts held, ``whole`` the same of segments read afterwards.
    """

    def __init__(self, base: str, query: str, rendition: str = "main.m3u8", *, steady: bool = True) -> None:
        self.url = f"{base}/{rendition}"
        self.query = query
        self.watch = Watch(steady=steady)
        self.listing = Listing()
        self.whole = Listing()
        self.statuses: dict[int, int] = {}
        self._inits: dict[str, dict[int, tuple[str, int]]] = {}
        self._taken: set[str] = set()

    async def follow(self, within: float) -> None:
        """Read until the playlist ends."""
        async with asyncio.timeout(within), aiohttp.ClientSession() as session:
            async for playlist in self._playlists(session):
                for segment in playlist.segments:
                    for part in segment.parts:
                        if part.uri not in self._taken and not part.gap:
                            self._taken.add(part.uri)
                            await self._load(session, segment.init, part.uri, self.listing)
            last = self.watch.last
            assert last is not None
            for segment in last.closed:
                if not segment.gap:
                    await self._load(session, segment.init, segment.uri, self.whole)

    async def _playlists(self, session: aiohttp.ClientSession) -> AsyncIterator[Playlist]:
        directives = ""
        while True:
            status, text = await self._get(session, f"{self.url}?{self.query}{directives}")
            if status != 200:
                assert status in (404, 503), (status, text)
                await asyncio.sleep(0.1)
                continue
            last = self.watch.last
            if "#EXT-X-SKIP" in text:
                assert last is not None
                expanded = expand(text, last)
                _, full = await self._get(session, f"{self.url}?{self.query}")
                playlist = self.watch.see(full)
                both = {segment.number: segment for segment in playlist.segments}
                for segment in expanded.closed:
                    if segment.number in both and segment.number >= playlist.sequence:
                        assert both[segment.number].told() == segment.told(), "the delta is not the playlist"
            else:
                playlist = self.watch.see(text)
            yield playlist
            if playlist.ends:
                return
            newest = playlist.segments[-1]
            number, part = (newest.number + 1, 0) if newest.uri else (newest.number, len(newest.parts))
            directives = f"&_HLS_msn={number}&_HLS_part={part}&_HLS_skip=YES"

    async def _get(self, session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
        async with session.get(url) as response:
            self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
            return response.status, await response.text()

    async def _load(self, session: aiohttp.ClientSession, init: str, uri: str, into: Listing) -> None:
        if init not in self._inits:
            async with session.get(urljoin(self.url, init)) as response:
                assert response.status == 200, (response.status, init)
                scales = mp4.read_init(await response.read())
            self._inits[init] = {scale.track_id: (kind.value, scale.timescale) for kind, scale in scales.items()}
        async with session.get(urljoin(self.url, uri)) as response:
            assert response.status == 200, (response.status, uri, await response.text())
            data = await response.read()
        for sample in mp4.read_fragments(data):
            track, rate = self._inits[init][sample.track_id]
            into.items.append(
                Item(
                    track,
                    round(sample.dts * 1000 / rate),
                    round(sample.cts_offset * 1000 / rate),
                    sample.is_sync or track == TrackKind.AUDIO.value,
                    digest(sample.payload),
                )
            )


class Crowd:
    """Hundreds of viewers of one channel in a process of their own, each of which loads every playlist and part.

    Every second one asks for the part together with its playlist, as hinted, the others (as hls.js) when it is there.
    """

    def __init__(self, processes: Processes, url: str, query: str, viewers: int, seconds: float, name: str) -> None:
        words = [sys.executable, "-m", "tests.support.viewer", url, query, str(viewers), str(seconds)]
        self.process: Process = processes.start(*words, name=name)

    async def report(self, within: float) -> dict[str, Any]:
        """``asked`` is a count, ``late``: seconds each answer took, or came behind the first for that part."""
        await self.process.done(within)
        found: dict[str, Any] = json.loads(self.process.output.read_text("utf-8"))
        return found


_LENGTH = re.compile(rb"(?i)content-length: (\d+)")


class _Asker(asyncio.Protocol):
    """One connection that asks for one thing after another: as little work as an answer can be."""

    def __init__(self) -> None:
        self._heard = bytearray()
        self._body = self._end = 0  # where the answer's body begins and ends, once its head is there
        self._answer: asyncio.Future[tuple[int, bytes, float]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if not self._end:
            head = self._heard.find(b"\r\n\r\n")
            if head < 0:
                return
            found = _LENGTH.search(self._heard, 0, head)
            self._body = head + 4
            self._end = self._body + (int(found[1]) if found else 0)
        if len(self._heard) >= self._end and self._answer is not None and not self._answer.done():
            status, body = int(self._heard[9:12]), bytes(self._heard[self._body : self._end])
            self._answer.set_result((status, body, time.monotonic()))
            del self._heard[: self._end]
            self._end = 0

    async def ask(self, path: str) -> tuple[int, bytes, float]:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n".encode())
        return await self._answer


_HINT = re.compile(rb'PRELOAD-HINT:TYPE=PART,URI="([^"]*?/(\d+)\.(\d+)\.m4s[^"]*)"')


async def _crowd(url: str, query: str, viewers: int, seconds: float) -> dict[str, Any]:
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    base = f"/{path}"
    loop = asyncio.get_running_loop()
    errors: list[str] = []
    came: dict[tuple[int, int], list[float]] = {}  # when the answers that had to wait came, by part
    late: list[float] = []
    until = time.monotonic() + seconds

    async def view(hints: bool) -> None:
        askers = [(await loop.create_connection(_Asker, name, int(port)))[1] for _ in range(2)]
        status, text, _ = await askers[0].ask(f"{base}/main.m3u8?{query}")
        while time.monotonic() < until:
            found = _HINT.search(text)
            if status != 200 or found is None:
                errors.append(f"{status} {text[-200:]!r}")
                return
            number, part = int(found[2]), int(found[3])
            asked = askers[0].ask(f"{base}/main.m3u8?{query}&_HLS_msn={number}&_HLS_part={part}&_HLS_skip=YES")
            if hints:
                (status, text, at), media = await asyncio.gather(asked, askers[1].ask(f"{base}/{found[1].decode()}"))
                came.setdefault((number, part), []).append(media[2])
            else:
                status, text, at = await asked
                started = time.monotonic()
                media = await askers[1].ask(f"{base}/{found[1].decode()}")
                late.append(media[2] - started)
            came.setdefault((number, part), []).append(at)
            if media[0] != 200:
                errors.append(f"{media[0]} {media[1][:200]!r}")

    results = await asyncio.gather(*(view(number % 2 == 0) for number in range(viewers)), return_exceptions=True)
    errors += [repr(result) for result in results if isinstance(result, BaseException)]
    late += [at - min(times) for times in came.values() for at in times]
    late.sort()
    return {"asked": len(late), "errors": errors, "late": late}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("query")
    parser.add_argument("viewers", type=int)
    parser.add_argument("seconds", type=float)
    chosen = parser.parse_args()
    report = uvloop.run(_crowd(chosen.url, chosen.query, chosen.viewers, chosen.seconds))
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()

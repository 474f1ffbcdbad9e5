"""An HLS ingest as strict as the strictest platform: it names every rule broken, and can fail in every way."""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from types import TracebackType
from typing import Self

from aiohttp import web

from tests.support.process import free_port
from tests.support.ts_listing import Frame, Segment, read_segment

Fault = int | str
"""A status to answer with, or ``reset``, ``hang``, or ``lost``: taken, but the answer is."""


class HlsIngest:
    """Takes files below ``url`` by PUT or POST for one ``key``. ``fault(name, tries)`` decides what goes wrong.

    ``broken``: rules broken. ``segments``: what was accepted, by name, in order; ``playlists`` likewise.
    """

    def __init__(
        self,
        key: str = "the-key",
        fault: Callable[[str, int], Fault | None] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.key = key
        self._tls = tls
        self.fault = fault or (lambda name, tries: None)
        self.port = free_port()
        self.broken: list[str] = []
        self.bodies: dict[str, bytes] = {}  # of segments accepted
        self.segments: dict[str, Segment] = {}
        self.playlists: list[str] = []
        self.requests = 0
        self.tries: dict[str, int] = {}
        self.is_over = False
        self.session = 0  # playlists ended so far
        self.retry_after = ""
        self.named: dict[str, int] = {}  # media sequence numbers
        self.lengths: dict[str, float] = {}  # EXTINF
        self.discontinuities: set[str] = set()
        self.methods: set[str] = set()
        self._digests: dict[str, str] = {}  # of everything that was tried, also what was not accepted
        self._target = ""
        self._sequence = self._discontinuity = 0
        self._runner: web.ServerRunner | None = None
        self._hanging: set[asyncio.Task[object]] = set()

    @property
    def url(self) -> str:
        """YouTube's form, without the key."""
        return f"http://127.0.0.1:{self.port}/http_upload_hls?cid={{key}}&copy=0&file="

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls).start()

    async def close(self) -> None:
        for task in self._hanging:
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Nobody listens, and what was open is gone."""
        await self.close()
        yield
        await self.open()

    def frames(self, track: str) -> list[Frame]:
        """Everything accepted, in the order of acceptance."""
        return [frame for segment in self.segments.values() for frame in segment.of(track)]

    def stored(self) -> bytes:
        return b"".join(self.bodies.values())

    def check(self) -> None:
        """No rule was broken, everything accepted was named, and the playlist has ended."""
        assert not self.broken, self.broken
        for before, after in pairwise(self.segments):
            if after not in self.discontinuities:
                starts = [
                    (self.segments[name].of("video") or self.segments[name].frames)[0].dts for name in (before, after)
                ]
                apart = (starts[1] - starts[0]) / 90_000
                assert abs(apart - self.lengths[before]) < 0.001, f"{before} lasts {apart}, not {self.lengths[before]}"
        unnamed = [name for name in self.bodies if name not in self.named]
        assert not unnamed, f"never named: {unnamed}"
        assert self.is_over, "the playlist did not end"

    # --- requests -----------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        self.methods.add(request.method)
        if "cid" in request.query:
            key, name = request.query["cid"], request.query.get("file", "")
        else:
            _, key, name = request.path.rsplit("/", 2)
        count = self.tries[name] = self.tries.get(name, 0) + 1
        fault = self.fault(name, count)
        if isinstance(fault, int):
            return web.Response(status=fault, headers={"Retry-After": self.retry_after} if self.retry_after else {})
        data = b"".join([chunk async for chunk in request.content.iter_any()])
        if fault == "hang":
            await self._hang()
        if fault == "reset":
            return self._gone(request)
        if request.method not in ("PUT", "POST"):
            return web.Response(status=405)
        if key != self.key:
            return web.Response(status=401)
        status = self._take(name, data, request.headers.get("Content-Type", ""))
        return self._gone(request) if fault == "lost" else web.Response(status=status)

    async def _hang(self) -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        self._hanging.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    @staticmethod
    def _gone(request: web.BaseRequest) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    def _take(self, name: str, data: bytes, kind: str) -> int:
        if name.endswith(".m3u8"):
            self._expect(kind == "application/vnd.apple.mpegurl", f"{name} is {kind}")
            self._playlist(data.decode())
            return 200
        digest = hashlib.sha256(data).hexdigest()
        self._expect(name.endswith(".ts"), f"a file called {name!r}")
        self._expect(kind == "video/mp2t", f"{name} is {kind}")
        self._expect(self._digests.setdefault(name, digest) == digest, f"{name} came again with other bytes")
        if name not in self.bodies:
            self._expect(_number(name) > max(map(_number, self.bodies), default=0), f"{name} out of order")
            segment = read_segment(data)
            self.broken += [f"{name}: {rule}" for rule in segment.broken]
            self._expect(segment.duration_s <= 4.2, f"{name} lasts {segment.duration_s:.2f} s")
            self.bodies[name], self.segments[name] = data, segment
        return 202

    def _expect(self, is_so: bool, rule: str) -> None:
        if not is_so:
            self.broken.append(rule)

    # --- playlists ----------------------------------------------------------------------------------------------------

    def _playlist(self, text: str) -> None:
        if self.playlists and text == self.playlists[-1]:
            return  # its answer was lost
        self.playlists.append(text)
        lines = text.splitlines()
        self._expect(lines[:1] == ["#EXTM3U"], "a playlist that is none")
        tags = dict(line.split(":", 1) for line in lines if line.startswith("#EXT-X-") and ":" in line)
        names = [line for line in lines if line and not line.startswith("#")]
        target, sequence = tags["#EXT-X-TARGETDURATION"], int(tags["#EXT-X-MEDIA-SEQUENCE"])
        discontinuity = int(tags.get("#EXT-X-DISCONTINUITY-SEQUENCE", "0"))
        self._expect(self._target in ("", target), f"the target duration changed from {self._target} to {target}")
        self._expect(sequence >= self._sequence, f"the media sequence went back from {self._sequence} to {sequence}")
        self._expect(discontinuity >= self._discontinuity, "the discontinuity sequence went back")
        self._expect(0 < len(names) <= 10, f"{len(names)} segments in a playlist")
        self._target, self._sequence, self._discontinuity = target, sequence, discontinuity
        for number, name in enumerate(names, sequence):
            self._expect(name in self.bodies, f"{name} is named before it is there")
            self._expect(self.named.setdefault(name, number) == number, f"{name} changed its number")
        order = [name for name in self.bodies if name in names]
        self._expect(order == names, f"named in another order: {names}")
        self._entries(lines, int(target))
        if self.is_over:
            self.session += 1
        self.is_over = "#EXT-X-ENDLIST" in lines

    def _entries(self, lines: list[str], target: int) -> None:
        length, is_new = 0.0, False
        for line in lines:
            if line.startswith("#EXTINF:"):
                length = float(line[8:].rstrip(","))
            elif line == "#EXT-X-DISCONTINUITY":
                is_new = True
            elif line and not line.startswith("#"):
                self._expect(int(length + 0.5) <= target, f"{line} is longer than the target duration")
                self._expect(self.lengths.setdefault(line, length) == length, f"{line} changed its length")
                if line in self.segments:
                    own = self.segments[line].duration_s
                    self._expect(own - length < 0.1, f"{line} lasts {own:.2f} s, not {length}")
                if is_new:
                    self.discontinuities.add(line)
                is_new = False

    def lengths_of_all(self) -> list[float]:
        """EXTINF of every segment but those that end a timeline, which may be short."""
        names = list(self.lengths)
        last = {names[-1]} | {before for before, name in pairwise(names) if name in self.discontinuities}
        return [length for name, length in self.lengths.items() if name not in last]


def _number(name: str) -> int:
    return int(name.removesuffix(".ts").rpartition("-")[2])

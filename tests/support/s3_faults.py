"""A bad link to a good store: an HTTP proxy before an S3 server that refuses, resets, cuts, lies and dawdles."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.process import free_port

_SLOW_DOWN = (
    "<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
_HOP = frozenset({"connection", "transfer-encoding", "keep-alive"})
FAULTS = ("refuse", "reset", "lose the answer", "cut the answer", "lie about the ETag", "dawdle")


class FaultyLink:
    """``down``: every request is refused with 503. ``share``: of the requests, how many meet a random fault (0…1)."""

    def __init__(self, target: str, seed: int) -> None:
        self._target = target
        self._random = random.Random(seed)
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.down = False
        self.share = 0.0
        self.times: list[float] = []  # monotonic seconds of every request
        self.stored: list[float] = []  # of every media segment the store took
        self.met: Counter[str] = Counter()  # faults, by kind
        self._session: aiohttp.ClientSession | None = None

    def busiest(self, since: float, until: float, window_s: float) -> int:
        """Most requests within any ``window_s`` seconds between two monotonic times."""
        times = [at for at in self.times if since <= at <= until]
        return max((sum(start <= at < start + window_s for at in times) for start in times), default=0)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.times.append(time.monotonic())
        body = await request.read()
        if self.down:
            return self._refused()
        fault = self._random.choice(FAULTS) if self._random.random() < self.share else ""
        self.met[fault or "none"] += 1
        if fault == "refuse":
            return self._refused()
        if fault == "reset":
            return self._reset(request)
        if fault == "dawdle":
            await asyncio.sleep(self._random.uniform(0.1, 1.0))
        status, headers, content = await self._forward(request, body)
        if request.method == "PUT" and status == 200 and request.path.endswith(".m4s"):
            self.stored.append(time.monotonic())
        if fault == "lose the answer":
            return self._reset(request)
        if fault == "lie about the ETag" and "ETag" in headers:
            headers["ETag"] = f'"{self._random.getrandbits(128):032x}"'
        if fault == "cut the answer" and len(content) > 1 and request.transport is not None:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"HTTP/1.1 {status} Cut\r\n{lines}Content-Length: {len(content)}\r\n\r\n"
            request.transport.write(head.encode() + content[: len(content) // 2])
            request.transport.close()
            return web.Response()
        if request.method == "HEAD":
            return web.Response(status=status, headers=headers)
        headers.pop("Content-Length", None)
        return web.Response(status=status, headers=headers, body=content)

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of the store's answer; 502 where it is not there."""
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = URL(self._target + request.raw_path, encoded=True)
        try:
            async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
                content = await answer.read()
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
                if request.method != "HEAD":
                    kept.pop("Content-Length", None)
                return answer.status, kept, content
        except aiohttp.ClientError:
            return 502, {}, b""

    @staticmethod
    def _refused() -> web.Response:
        return web.Response(status=503, text=_SLOW_DOWN, content_type="application/xml")

    @staticmethod
    def _reset(request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


@asynccontextmanager
async def faulty_link(target: str, *, seed: int = 1) -> AsyncIterator[FaultyLink]:
    """A link to the server at ``target`` for the time of the ``with``, without faults until told."""
    link = FaultyLink(target, seed)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", link.answer)
    runner = web.AppRunner(app, access_log=None)
    async with aiohttp.ClientSession(
        auto_decompress=False, timeout=aiohttp.ClientTimeout(total=60), connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        link._session = session
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", link.port).start()
        try:
            yield link
        finally:
            await runner.cleanup()

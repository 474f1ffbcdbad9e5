"""A webhook receiver of the tests' own: checks signatures, keeps what it was told, misbehaves when asked to."""

import asyncio
import hashlib
import hmac
import json
from types import TracebackType
from typing import Any, Self

from aiohttp import web


class Receiver:
    """Answers ``status`` after ``delay_s``; ``told`` are the bodies of what it took, ``seen`` of all attempts."""

    def __init__(self, secret: str, port: int = 0) -> None:
        self.secret = secret
        self.status = 204
        self.headers: dict[str, str] = {}
        self.delay_s = 0.0
        self.told: list[dict[str, Any]] = []
        self.seen: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.port = port
        self._news = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/part-of-the-secret"

    async def names(self, count: int, within: float = 30.0) -> list[str]:
        """The events taken, once there are ``count``."""
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(lambda: len(self.told) >= count)
        return [item["event"] for item in self.told]

    async def until(self, name: str, within: float = 60.0) -> dict[str, Any]:
        """The first event of that name, once it was taken."""
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(lambda: any(item["event"] == name for item in self.told))
        return next(item for item in self.told if item["event"] == name)

    async def attempts(self, count: int, within: float = 30.0) -> None:
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(lambda: len(self.seen) >= count)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        told = json.loads(body)
        # As the README says how to check it.
        parts = dict(part.split("=", 1) for part in request.headers["Relay-Signature"].split(","))
        right = hmac.new(self.secret.encode(), parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right, parts["v1"]):
            self.faults.append("signature")
        if (request.headers["Relay-Event"], request.headers["Relay-Delivery"]) != (told["event"], told["id"]):
            self.faults.append("headers")
        status, headers = self.status, self.headers
        async with self._news:
            self.seen.append(told)
            self._news.notify_all()
        await asyncio.sleep(self.delay_s)
        if status < 300:
            async with self._news:
                self.told.append(told)
                self._news.notify_all()
        return web.Response(status=status, headers=headers)

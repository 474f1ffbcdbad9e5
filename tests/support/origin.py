"""An HTTP origin of the tests' own: files that can be changed while it runs, and every way to misbehave."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    """One request that came."""

    path: str
    headers: dict[str, str]
    query: str = ""


@dataclass
class Origin:
    """``files`` by path: bytes, or how to answer. What is not there is a 404. ``asked``: every request so far."""

    port: int = 0
    scheme: str = "http"
    files: dict[str, bytes | str | Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [item.path for item in self.asked]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(Asked(request.path, dict(request.headers), request.raw_path.partition("?")[2]))
        found = self.files.get(request.path)
        if found is None:
            return web.Response(status=404)
        if callable(found):
            return await found(request)
        data = found.encode() if isinstance(found, str) else found
        wanted = request.headers.get("Range")
        if wanted is None:
            return web.Response(body=data)
        first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
        return web.Response(status=206, body=data[first : last + 1])


@contextlib.asynccontextmanager
async def origin(tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """An origin on a loopback port of the system's choosing."""
    made = Origin(scheme="http" if tls is None else "https")
    server = web.Server(made.answer, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=tls)
    made.port = listener.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        listener.close()
        await server.shutdown(0.5)


def status(code: int, **headers: str) -> Answer:
    """Answers ``code`` with nothing; underscores in header names stand for dashes."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


def compressed(data: bytes, coding: str = "gzip") -> Answer:
    """Answers with ``data`` under a Content-Encoding."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=data, headers={"Content-Encoding": coding})

    return answer


def endless(block: bytes, every_s: float, start: bytes = b"") -> Answer:
    """``start``, then ``block`` again and again until the client has had enough."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 1 << 40 if every_s else None
        response.headers["Content-Type"] = "application/octet-stream"
        if not every_s:
            response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(start)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(block)
                await asyncio.sleep(every_s)
        return response

    return answer

"""An object store that predates checksum trailers: real HTTPS, and objects that keep what it does not understand."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.support.process import free_port


@dataclass
class OldStore:
    """What was asked of it, and its objects by path. ``refuses``: it says that it does not know trailers."""

    endpoint: str
    refuses: bool = False
    objects: dict[str, bytes] = field(default_factory=dict)
    framed: int = 0  # bodies that came in chunks of their own, with a trailer
    proven: int = 0  # bodies that came with Content-MD5

    async def answer(self, request: web.Request) -> web.Response:
        answer = await self._answer(request)
        answer.force_close()
        return answer

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.method == "PUT":
            framed = "aws-chunked" in request.headers.get("Content-Encoding", "")
            self.framed += framed
            self.proven += "Content-MD5" in request.headers
            if framed and self.refuses:
                return _error(501, "NotImplemented", "A header you provided implies functionality not implemented")
            self.objects[request.path] = body
            return web.Response(headers={"ETag": '"0123456789abcdef0123456789abcdef"'})
        if request.method == "DELETE":
            self.objects.pop(request.path, None)
            return web.Response(status=204)
        if request.path not in self.objects:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        return web.Response(body=self.objects[request.path], content_type="application/octet-stream")


def _error(status: int, code: str, message: str) -> web.Response:
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


@asynccontextmanager
async def serve_old(context: ssl.SSLContext, *, refuses: bool = False) -> AsyncIterator[OldStore]:
    """An empty one for the time of the ``with``."""
    port = free_port()
    store = OldStore(f"https://127.0.0.1:{port}", refuses)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", store.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    try:
        yield store
    finally:
        await runner.cleanup()

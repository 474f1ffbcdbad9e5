"""A whole relay inside the test's own event loop, on free ports, with a data directory of its own."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from relay.app import App
from relay.config import Settings


@contextlib.asynccontextmanager
async def running_app(data_dir: Path, **settings: Any) -> AsyncIterator[App]:
    """An App that listens on loopback ports of the system's choosing, closed at the end whatever happened."""
    values: dict[str, Any] = {
        "data_dir": data_dir,
        "rtmp": {"listen": "127.0.0.1:0"},
        "ingest_http": {"listen": "127.0.0.1:0"},
        "http": {"listen": "127.0.0.1:0"},
        "outbound": {"allow_private": True},
        **settings,
    }
    app = App(Settings(**values))
    try:
        await app.start()
        yield app
    finally:
        await app.close()


class Browser:
    """HTTP to one app: with the admin token, without, or with a session's cookies."""

    def __init__(self, app: App, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.base = f"http://127.0.0.1:{app.web.port}"
        self.token = app.token.reveal()

    async def ask(
        self, method: str, path: str, *, token: str | None = None, headers: dict[str, str] | None = None, **more: Any
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        """(status, body: JSON where it is that, else text, the response). ``token`` None: the admin token."""
        sent = dict(headers or {})
        shown = self.token if token is None else token
        if shown:
            sent["Authorization"] = f"Bearer {shown}"
        async with self._session.request(
            method, self.base + path, headers=sent, allow_redirects=False, **more
        ) as response:
            if response.content_type == "application/json":
                return response.status, await response.json(), response
            return response.status, await response.text("utf-8", "replace"), response


@contextlib.asynccontextmanager
async def browsing(app: App) -> AsyncIterator[Browser]:
    """A Browser whose cookies also work on plain loopback addresses."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Browser(app, session)

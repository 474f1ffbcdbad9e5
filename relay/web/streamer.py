"""The page of whoever streams: opened by a link alone, light enough for a bad connection, nothing of the operator's."""

import asyncio
import hashlib
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from relay.control import Control
from relay.control.panel import Panel
from relay.control.shares import Shares
from relay.database import ShareRow
from relay.errors import NotFoundError, RelayError
from relay.throttle import Throttle
from relay.web.pages import render
from relay.web.phone import qr_svg, setup_of
from relay.web.routes import address_of

log = structlog.get_logger("relay.web")

EVERY_S = 2.0
QUIET_S = 14.0  # without news for that long, a word: proxies and phones close what says nothing
STUCK_S = 20.0  # a phone that takes nothing for that long is gone
PAGES_PER_LINK = 16  # with live updates; further ones ask for them
REFRESH_S = 10
ASSETS = Path(__file__).parent / "static" / "streamer"
_TYPES = {"page.css": "text/css", "page.js": "text/javascript"}
_PRIVATE = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex, nofollow, noarchive"}


class StreamerPages:
    """Handlers of everything under /s/. ``behind_proxy``: a proxy's X-Forwarded-For says who asks."""

    def __init__(self, control: Control, *, failures_per_minute: int, behind_proxy: bool) -> None:
        self._control = control
        self._throttle = Throttle(failures_per_minute)
        self._behind_proxy = behind_proxy
        self._pages: Counter[str] = Counter()  # with live updates, by the link's id
        self._closing = asyncio.Event()
        self._assets = {name: (ASSETS / name).read_bytes() for name in _TYPES}
        self._version = hashlib.sha256(b"".join(self._assets.values())).hexdigest()[:8]

    @property
    def _shares(self) -> Shares:
        return self._control.shares

    def register(self, app: web.Application) -> None:
        """Serve the pages from ``app``."""
        app.router.add_get("/s/assets/{file}", self.asset)
        app.router.add_get("/s/{token}", self.page)
        app.router.add_get("/s/{token}/state", self.state)
        app.router.add_get("/s/{token}/events", self.events, allow_head=False)
        app.router.add_get("/s/{token}/qr/{kind}.svg", self.code)
        app.on_shutdown.append(self._shut_down)

    async def _shut_down(self, _: web.Application) -> None:
        self._closing.set()

    def _share(self, request: web.Request) -> ShareRow:
        """The link the request came by. Raises NotFoundError or HTTPTooManyRequests."""
        try:
            return self._shares.open(request.match_info["token"])
        except NotFoundError:
            # A right link always opens: a phone shares its address with strangers.
            address = address_of(request, behind_proxy=self._behind_proxy)
            if self._throttle.is_full(address):
                raise web.HTTPTooManyRequests from None
            self._throttle.note(address)
            if self._throttle.is_full(address):
                log.warning("many wrong links to streamers' pages: refused for a minute", address=address)
            raise

    async def asset(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        if name not in self._assets:
            raise NotFoundError("there is nothing here")
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}  # its address changes with its content
        return web.Response(body=self._assets[name], content_type=_TYPES[name], charset="utf-8", headers=headers)

    async def page(self, request: web.Request) -> web.Response:
        """The page as it is now; a wrong link gets words for people instead of JSON."""
        try:
            name = self._share(request).channel
            panel = await self._control.panels.look(name)
            setup = setup_of(self._control.channel(name))
        except (NotFoundError, web.HTTPTooManyRequests) as error:
            is_throttled = isinstance(error, web.HTTPTooManyRequests)
            words = "Too many wrong links came from your network. Wait a minute, then try again."
            text = render(
                "streamer_closed.html",
                words=words if is_throttled else "It has expired, was taken back, or was not copied whole.",
                version=self._version,
            )
            status = 429 if is_throttled else 404
            return web.Response(text=text, status=status, content_type="text/html", headers=_PRIVATE)
        text = render(
            "streamer.html",
            name=name,
            panel=panel,
            setup=setup,
            base=f"/s/{request.match_info['token']}",
            version=self._version,
            refresh=REFRESH_S if "refresh" in request.query else 0,
            refresh_s=REFRESH_S,
        )
        return web.Response(text=text, content_type="text/html", headers=_PRIVATE)

    async def code(self, request: web.Request) -> web.Response:
        """A QR code for setting up another phone."""
        text = setup_of(self._control.channel(self._share(request).channel)).text(request.match_info["kind"])
        if text is None:
            raise NotFoundError("there is nothing here")
        return web.Response(body=qr_svg(text), content_type="image/svg+xml", headers=_PRIVATE)

    async def state(self, request: web.Request) -> web.Response:
        """All of the panel, for pages that have to ask for it."""
        panel = await self._control.panels.look(self._share(request).channel)
        return web.Response(text=_json(panel.model_dump()), content_type="application/json", headers=_PRIVATE)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """The panel, then every two seconds what has changed of it, until the link closes."""
        share = self._share(request)
        if self._pages[share.id] >= PAGES_PER_LINK:
            raise web.HTTPServiceUnavailable
        response = web.StreamResponse(
            headers={**_PRIVATE, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        )
        self._pages[share.id] += 1
        try:
            await response.prepare(request)
            await self._tell(response, request.match_info["token"])
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._pages[share.id] -= 1
            if not self._pages[share.id]:
                del self._pages[share.id]
        return response

    async def _tell(self, response: web.StreamResponse, token: str) -> None:
        """Raises ConnectionError when the page is gone, TimeoutError when it takes nothing."""
        shown: dict[str, Any] = {}
        told_at = time.monotonic()
        while not self._closing.is_set():
            try:
                panel = await self._control.panels.look(self._shares.open(token).channel)
            except RelayError:
                await _send(response, "event: gone\ndata: {}\n\n")
                return
            now, news = time.monotonic(), changes(shown, panel)
            if news:
                await _send(response, f"data: {_json(news)}\n\n")
                shown, told_at = panel.model_dump(), now
            elif now - told_at >= QUIET_S:
                await _send(response, "event: quiet\ndata: {}\n\n")
                told_at = now
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._closing.wait()
            except TimeoutError:
                continue


def changes(shown: dict[str, Any], panel: Panel) -> dict[str, Any]:
    """What of ``panel`` is not ``shown`` yet; platforms one by one, and null for those that are gone."""
    now = panel.model_dump()
    news = {key: value for key, value in now.items() if key != "places" and shown.get(key) != value}
    before, places = shown.get("places", {}), now["places"]
    moved: dict[str, Any] = {name: place for name, place in places.items() if before.get(name) != place}
    moved |= {name: None for name in before if name not in places}
    return {**news, "places": moved} if moved else news


async def _send(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(STUCK_S):
        await response.write(text.encode())


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
